"""Example values of the chat API, shown in its OpenAPI description."""

from __future__ import annotations

from typing import Any

CHAT_ID = "0b8f9a52-3c52-4f0e-9a8e-7f1f6a1f2b11"

CHAT: dict[str, Any] = {
    "id": CHAT_ID,
    "title": "Asha & Ravi",
    "participants": ["Asha", "Ravi"],
    "people": [{"name": "Asha", "aliases": ["Asha"]}, {"name": "Ravi", "aliases": ["Ravi", "+91 98765 43210"]}],
    "is_openable": True,
    "is_key_gone": False,
    "is_group": False,
    "platform": "whatsapp",
    "dialect": "android",
    "date_order": "dmy",
    "ambiguous_dates": False,
    "clock": "local",
    "time_zone": "Asia/Kolkata",
    "message_count": 4213,
    "last_message_number": 4227,
    "participant_count": 2,
    "first_message_on": "2024-01-14",
    "last_message_on": "2025-11-02",
    "recorded_details": ["call_durations", "media_kinds"],
    "unreadable_count": 0,
    "future_count": 0,
    "status": "completed",
    "vector_status": "completed",
    "chunk_count": 312,
    "indexed_at": "2026-01-05T09:31:03.120000Z",
    "is_searchable": True,
    "created_at": "2026-01-05T09:30:12.410000Z",
}

STATISTICS: dict[str, Any] = {
    "total_messages": 4213,
    "total_words": 31877,
    "total_days": 659,
    "messages_per_day_avg": 6.4,
    "date_range": {"start": "2024-01-14T08:02:00", "end": "2025-11-02T22:41:00"},
    "busiest_hour": 21,
    "busiest_day": "Sunday",
    "top_words": [{"word": "chai", "count": 214}],
    "top_emojis": [{"emoji": "😂", "count": 391}],
    "top_mentions": [{"name": "Ravi", "count": 12}],
    "language_mix": {
        "hinglish": {"count": 2114, "share_percent": 54.8},
        "english": {"count": 1120, "share_percent": 29.0},
        "unknown": {"count": 624, "share_percent": 16.2},
    },
    "sentiment": {"positive": 1204, "negative": 433, "messages": 1391, "balance": 0.47},
    "median_response_time_seconds": 120.0,
    "response_times_by_month": {
        "2024-01": {"responses": 84, "median_response_time_seconds": 180.0, "p90_response_time_seconds": 4260}
    },
    "conversation_ends": {
        "Asha": {"count": 301, "share_percent": 55.7},
        "Ravi": {"count": 239, "share_percent": 44.3},
    },
    "user_stats": {"Asha": {"message_count": 2305, "word_count": 17012, "questions_asked": 402}},
}

PERIOD_STATISTICS: dict[str, Any] = {
    **STATISTICS,
    "period": {"from": "2025-01-01", "to": "2025-12-31"},
    "comparison": {
        "period": {"from": "2024-01-01", "to": "2024-12-31"},
        "statistics": STATISTICS,
        "changes": {"total_messages": {"before": 1954, "after": 2259, "change_percent": 15.6}},
    },
}

CHANGES: dict[str, Any] = {
    "title": "The two of us",
    "time_zone": "Asia/Kolkata",
    "people": [{"name": "Ravi", "aliases": ["Ravi", "+91 98765 43210"]}],
}

NOT_YET_SEARCHABLE = {"vector_status": "pending", "chunk_count": 0, "indexed_at": None, "is_searchable": False}

UPLOADED = {
    **CHAT,
    **NOT_YET_SEARCHABLE,
    "outcome": "accepted",
    "added_messages": 4213,
    "older_messages_left_out": 0,
    "statistics": STATISTICS,
}
IDENTICAL = {"outcome": "identical", "added_messages": 0}
EXTENDED = {"outcome": "extended", "added_messages": 120}

VECTOR_STATUS = {
    "chat_id": CHAT_ID,
    **{name: CHAT[name] for name in ("vector_status", "chunk_count", "indexed_at", "is_searchable")},
}

_ADDRESS = f"https://relivchats.example/api/chats/{CHAT_ID}/messages"

MESSAGES: dict[str, Any] = {
    "next": f"{_ADDRESS}?after=2&limit=2",
    "previous": None,
    "results": [
        {
            "number": 1,
            "sent_at": "2024-01-14T08:02:00",
            "sender": None,
            "kind": "system",
            "text": "Messages and calls are end-to-end encrypted.",
            "edited": False,
            "media_kind": None,
            "duration_seconds": None,
            "forwarded": False,
            "reply_to": None,
            "reactions": [],
        },
        {
            "number": 2,
            "sent_at": "2024-01-14T08:02:00",
            "sender": "Asha",
            "kind": "text",
            "text": "Good morning! Chai at five?",
            "edited": False,
            "media_kind": None,
            "duration_seconds": None,
            "forwarded": False,
            "reply_to": None,
            "reactions": [],
        },
    ],
}

CONTENT_ACCESS = {
    "id": "3b7f9a52-5a8e-4c0e-9d0c-0a5a4f0b6c11",
    "chat_id": "8c7a3c1e-6f0a-4a53-9a8e-2f64a1f4d0b2",
    "reason": "Answering your request of 5 March about missing messages",
    "created_at": "2026-03-06T09:30:00Z",
    "expires_at": "2026-03-06T09:45:00Z",
    "reads": [{"first_number": 1, "last_number": 50, "created_at": "2026-03-06T09:30:04Z"}],
}
