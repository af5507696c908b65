"""The forms of admin pages that move coins or money."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import uuid4

from django import forms
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminIntegerFieldWidget

from billing.payments import money
from relivchats.staff.actions import ReasonForm


class AdjustForm(ReasonForm):
    """The amount and reason of an adjustment."""

    amount = forms.IntegerField(
        widget=UnfoldAdminIntegerFieldWidget, help_text="Coins to add, or a negative number to take. Held coins stay."
    )
    #: The idempotency key. A form that is sent twice is one request.
    key = forms.CharField(widget=forms.HiddenInput, max_length=60, initial=lambda: f"form {uuid4()}")


class RefundForm(ReasonForm):
    """The amount and reason of a refund, in the currency of the order. `amount` becomes minor units: 14.99 is 1499."""

    amount = forms.DecimalField(
        min_value=Decimal("0.01"),
        max_digits=12,
        decimal_places=2,
        widget=UnfoldAdminDecimalFieldWidget,
        help_text="The coins that this amount bought are taken back.",
    )
    #: In minor units, when the form was shown. A form that is sent twice finds less and is refused.
    expected_refundable = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, currency: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["amount"].label = f"Amount in {currency}"

    def clean_amount(self) -> int:
        """Return the amount in minor units."""
        return int(self.cleaned_data["amount"] * money.MINOR_UNITS)
