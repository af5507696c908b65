"""The people of a chat: which of an export's names belong to one person, and what that person is called. Pure.

An export takes names from the contacts of the exporting phone. One person can therefore have several: a contact
that was renamed, or a phone number that was saved later. The owner of a chat chooses people, each with a shown
name and the export's names (aliases) of that person; every other name is a person by itself. Stored messages
keep the export's names, so a choice can be undone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import TypedDict


class Person(TypedDict):
    """A chosen person: the name that is shown, and the export's names of this person."""

    name: str
    aliases: list[str]


class InvalidPeople(ValueError):
    """A choice that is not possible. `path` locates the error: the index of a person, or of one of its aliases."""

    def __init__(self, reason: str, *path: int | str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path = path


@dataclass(frozen=True)
class People:
    """The people of a chat. `names` are shown, in order of first appearance; `person_of_sender` maps senders to them.

    A sender is an index into the export's names, a person an index into `names`.
    """

    names: list[str]
    person_of_sender: list[int]

    @classmethod
    def resolve(cls, export_names: Sequence[str], *, chosen: Sequence[Person]) -> People:
        """Return the people behind an export's names."""
        choice_of_alias = {alias: index for index, person in enumerate(chosen) for alias in person["aliases"]}
        names: list[str] = []
        person_of_sender: list[int] = []
        person_of_choice: dict[int, int] = {}
        for export_name in export_names:
            choice = choice_of_alias.get(export_name)
            if choice in person_of_choice:
                person_of_sender.append(person_of_choice[choice])
                continue
            if choice is not None:
                person_of_choice[choice] = len(names)
            person_of_sender.append(len(names))
            names.append(export_name if choice is None else chosen[choice]["name"])
        return cls(names, person_of_sender)

    @property
    def has_one_name_each(self) -> bool:
        """Whether every name of the export is a person by itself."""
        return len(self.names) == len(self.person_of_sender)

    def to_list(self, export_names: Sequence[str]) -> list[Person]:
        """Return all people with all their aliases, in the form that `validate_people` accepts."""
        people = [Person(name=name, aliases=[]) for name in self.names]
        for export_name, person in zip(export_names, self.person_of_sender, strict=True):
            people[person]["aliases"].append(export_name)
        return people


def validate_people(chosen: Sequence[Person], *, export_names: Sequence[str]) -> list[Person]:
    """Return the choice without people that change nothing. Raise InvalidPeople, whose message contains no name."""
    known, taken = set(export_names), set[str]()
    for index, person in enumerate(chosen):
        for position, alias in enumerate(person["aliases"]):
            if alias not in known:
                raise InvalidPeople(
                    "The export has no such name. GET the chat: `people` lists them.", index, "aliases", position
                )
            if alias in taken:
                raise InvalidPeople("This name is listed twice.", index, "aliases", position)
            taken.add(alias)
    people = People.resolve(export_names, chosen=chosen)
    if len(people.names) < min(2, len(export_names)):
        raise InvalidPeople("This would leave one person. A chat is between two people or more.")
    if len(set(people.names)) < len(people.names):
        raise InvalidPeople("Two people would have the same name. Merge them, or give them different names.")
    return [person for person in chosen if person["aliases"] != [person["name"]]]


def add_alias(chosen: Sequence[Person], *, alias: str, export_name: str, shown_name: str) -> list[Person]:
    """Return the choice with another alias for the person who has `export_name` in the export.

    `shown_name` is that person's name, which a choice needs if there is none for this person yet.
    """
    people = [Person(name=person["name"], aliases=list(person["aliases"])) for person in chosen]
    for person in people:
        if export_name in person["aliases"]:
            person["aliases"].append(alias)
            return people
    return [*people, Person(name=shown_name, aliases=[export_name, alias])]


def add_person(chosen: Sequence[Person], *, export_names: Sequence[str]) -> list[Person]:
    """Return the choice after a new person wrote: the last of `export_names`.

    If another person is already shown by that name, the new one gets a numbered name.
    """
    *others, name = People.resolve(export_names, chosen=chosen).names
    if name not in others:
        return list(chosen)
    return [*chosen, Person(name=unique_name(name, taken=others), aliases=[name])]


def unique_name(name: str, *, taken: Collection[str]) -> str:
    """Return the name, or the name with the first free number from 2, such as `Ravi (2)`."""
    names = chain([name], (f"{name} ({number})" for number in count(2)))
    return next(candidate for candidate in names if candidate not in taken)


def default_title(names: Sequence[str]) -> str:
    """Return the title of a chat that its owner has not named."""
    return f"Group of {len(names)}" if len(names) > 2 else " & ".join(names)
