"""The forms of admin pages that move coins or money."""

from __future__ import annotations

from uuid import uuid4

from django import forms
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from relivchats.staff.actions import ReasonForm


class AdjustForm(ReasonForm):
    """The amount and reason of an adjustment."""

    amount = forms.IntegerField(
        widget=UnfoldAdminIntegerFieldWidget, help_text="Coins to add, or a negative number to take. Held coins stay."
    )
    #: The idempotency key. A form that is sent twice is one request.
    key = forms.CharField(widget=forms.HiddenInput, max_length=60, initial=lambda: f"form {uuid4()}")


class RefundForm(ReasonForm):
    """The amount and reason of a refund."""

    amount = forms.IntegerField(
        min_value=1,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="In minor units: 39900 is ₹399, 499 is $4.99. The coins that this amount bought are taken back.",
    )
    #: The refundable amount when the form was shown. A form that is sent twice finds less and is refused.
    expected_refundable = forms.IntegerField(widget=forms.HiddenInput)
