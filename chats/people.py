"""Who is who in a chat: the names of an export, and the people its owner says they are. Pure.

An export names people by the phone's contacts, so one person may have several names: before and
after they were renamed, or by their number. What an owner chose is a list of people, each with the
name to show and the export's names that are theirs; every other name is a person of its own. The
stored messages keep the export's names, so choosing otherwise undoes everything.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import TypedDict


class Person(TypedDict):
    """`name` is shown; `aliases` are the export's names for this person."""

    name: str
    aliases: list[str]


class InvalidPeople(ValueError):
    """A choice that makes no sense. `place` is where: a person's number, perhaps an alias' number."""

    def __init__(self, reason: str, *place: int | str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.place = place


@dataclass(frozen=True)
class People:
    """`names` are shown, in order of first appearance; `person_of_sender` leads from an export's name to its person."""

    names: list[str]
    person_of_sender: list[int]

    @classmethod
    def resolve(cls, export_names: Sequence[str], *, chosen: Sequence[Person]) -> People:
        shown = {alias: number for number, person in enumerate(chosen) for alias in person["aliases"]}
        names: list[str] = []
        person_of_sender: list[int] = []
        numbers: dict[int, int] = {}
        for name in export_names:
            choice = shown.get(name)
            if choice in numbers:
                person_of_sender.append(numbers[choice])
                continue
            if choice is not None:
                numbers[choice] = len(names)
            person_of_sender.append(len(names))
            names.append(name if choice is None else chosen[choice]["name"])
        return cls(names, person_of_sender)

    @property
    def has_one_name_each(self) -> bool:
        """Whether no two names are one person."""
        return len(self.names) == len(self.person_of_sender)

    def to_list(self, export_names: Sequence[str]) -> list[Person]:
        """Everybody with all their names, as `validate` takes them back."""
        people = [Person(name=name, aliases=[]) for name in self.names]
        for name, number in zip(export_names, self.person_of_sender, strict=True):
            people[number]["aliases"].append(name)
        return people


def validate(chosen: Sequence[Person], *, export_names: Sequence[str]) -> list[Person]:
    """The choice without those that change nothing. Raises InvalidPeople, which quotes no name."""
    known, taken = set(export_names), set[str]()
    for number, person in enumerate(chosen):
        for place, alias in enumerate(person["aliases"]):
            if alias not in known:
                raise InvalidPeople(
                    "The export has no such name. GET the chat: `people` lists them.", number, "aliases", place
                )
            if alias in taken:
                raise InvalidPeople("This name stands with two people, or twice.", number, "aliases", place)
            taken.add(alias)
    people = People.resolve(export_names, chosen=chosen)
    if len(people.names) < min(2, len(export_names)):
        raise InvalidPeople("This would leave one person. A chat is between two people or more.")
    if len(set(people.names)) < len(people.names):
        raise InvalidPeople("Two people would have the same name. Put them together, or name them apart.")
    return [person for person in chosen if person["aliases"] != [person["name"]]]


def add_alias(chosen: Sequence[Person], *, alias: str, of: str, shown: str) -> list[Person]:
    """The choice with one more name for the person who has the name `of` in the export and is shown as `shown`."""
    people = [Person(name=person["name"], aliases=list(person["aliases"])) for person in chosen]
    for person in people:
        if of in person["aliases"]:
            person["aliases"].append(alias)
            return people
    return [*people, Person(name=shown, aliases=[of, alias])]


def add_person(chosen: Sequence[Person], *, export_names: Sequence[str]) -> list[Person]:
    """The choice when the last of `export_names` is somebody new, whose name another may be shown by."""
    *others, name = People.resolve(export_names, chosen=chosen).names
    if name not in others:
        return list(chosen)
    return [*chosen, Person(name=unique_name(name, taken=others), aliases=[name])]


def unique_name(name: str, *, taken: Collection[str]) -> str:
    """The name, numbered when it is taken: two people are never called alike."""
    names = chain([name], (f"{name} ({number})" for number in count(2)))
    return next(free for free in names if free not in taken)


def default_title(names: Sequence[str]) -> str:
    """What a chat is called until its owner calls it something else."""
    return f"Group of {len(names)}" if len(names) > 2 else " & ".join(names)
