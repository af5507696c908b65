"""Erase an account: everything that is the person's, in one transaction.

The rows of the ledger stay: the wallet has no user any more, and no row says whose it was.
"""

from __future__ import annotations

import logging

from django.db import transaction
from django.dispatch import Signal

from relivchats.accounts.models import User
from relivchats.errors import StaffAccount

logger = logging.getLogger(__name__)

#: Sent with `user` at the start of the transaction that deletes them. Receivers lock what the user owns.
account_erasing = Signal()


@transaction.atomic
def erase(user: User) -> bool:
    """Delete the user with their chats, tokens and uploads. Return False if somebody else has deleted them meanwhile.

    Raise StaffAccount for a member of staff.

    What is being generated ends, and coins that are held for it go back to the wallet, which then belongs to nobody.
    """
    # Chats before their owner, as everywhere (docs/jobs.md): an unlock holds a chat, then its owner, then the wallet,
    # and the deletion of a chat settles the coins of its jobs in the wallet.
    account_erasing.send(sender=User, user=user)
    locked = User.objects.select_for_update().filter(pk=user.pk).first()
    if locked is None:
        return False
    require_customer(locked)
    locked.delete()
    logger.info("account erased", extra={"user_id": str(user.pk)})
    return True


def require_customer(user: User) -> None:
    """Raise StaffAccount for a member of staff."""
    if user.is_staff or user.is_superuser:
        raise StaffAccount("Take the status of staff from it in the admin first, then erase it.")
