"""Examples of requests and responses for the API's description."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample

CHAT_ID = "0b8f9a52-3c52-4f0e-9a8e-7f1f6a1f2b11"
JOB_ID = "9d0c4b7e-5a58-4d8c-b8ad-3f0e2f6c7a22"
OTHER_JOB_ID = "b1d2c3e4-0f6a-4f43-8f0d-6a7b8c9d0e33"
INSIGHT_ID = "3f7e6d5c-4b3a-4c2d-9e1f-0a9b8c7d6e44"

INSIGHT_TYPE = {
    "id": "communication_basics",
    "category_id": "romantic",
    "title": "Communication Basics",
    "icon": "💬",
    "description": "Who starts, who answers how fast, and how balanced it is.",
    "price": 50,
    "groups": True,
    "min_messages": 50,
}

CATEGORY = {
    "id": "romantic",
    "title": "Romantic",
    "description": "For two people who are close.",
    "icon": "❤️",
    "price": 400,
    "insight_types": [INSIGHT_TYPE],
}

PENDING = {
    "id": INSIGHT_ID,
    "insight_type_id": "communication_basics",
    "title": "Communication Basics",
    "language": "en",
    "status": "pending",
    "price": 50,
    "voided": False,
    "attempt": 0,
    "error_code": "",
    "started_at": None,
    "finished_at": None,
}

COMPLETED = {
    **PENDING,
    "status": "completed",
    "attempt": 1,
    "started_at": "2026-01-05T09:31:04Z",
    "finished_at": "2026-01-05T09:31:05Z",
}

UNLOCK_REQUESTS = [
    OpenApiExample("A category", value={"chat_id": CHAT_ID, "category_id": "romantic"}, request_only=True),
    OpenApiExample(
        "One insight",
        value={"chat_id": CHAT_ID, "insight_type_ids": ["communication_basics"], "language": "en"},
        request_only=True,
    ),
]

QUOTE = {
    "chat_id": CHAT_ID,
    "category_id": "romantic",
    "coins": 180,
    "balance": 450,
    "spendable": 50,
    "deficit": 130,
    "can_unlock": False,
    "possible": ["love_language", "conflict_resolution"],
    "unavailable": None,
    "insights": [
        {
            "insight_type_id": "communication_basics",
            "title": "Communication Basics",
            "price": 50,
            "coins": 0,
            "state": "owned",
            "insight_id": INSIGHT_ID,
            "language": "en",
            "why_not": "",
        },
        {
            "insight_type_id": "love_language",
            "title": "Love Language",
            "price": 100,
            "coins": 100,
            "state": "available",
            "insight_id": None,
            "language": None,
            "why_not": "",
        },
        {
            "insight_type_id": "conflict_resolution",
            "title": "Conflict Resolution",
            "price": 80,
            "coins": 80,
            "state": "failed",
            "insight_id": "7f04aab7-57aa-49a2-9b38-09702b08f978",
            "language": None,
            "why_not": "",
        },
    ],
}

UNLOCKED = {
    "success": True,
    "job_id": JOB_ID,
    "status": "queued",
    "coins_reserved": 50,
    "spendable": 400,
    "total_insights": 1,
    "insights": [PENDING],
    "poll_url": f"/api/insights/jobs/{JOB_ID}/status",
    "message": "50 coins are held. Only insights that are delivered will be charged.",
}

UNLOCKED_BEFORE = {
    "status": "completed",
    "coins_reserved": 0,
    "insights": [COMPLETED],
    "message": "This is unlocked already. Nothing was held.",
}

RETRIED = {"job_id": OTHER_JOB_ID, "poll_url": f"/api/insights/jobs/{OTHER_JOB_ID}/status"}

JOB = {
    "job_id": JOB_ID,
    "chat_id": CHAT_ID,
    "category_id": "romantic",
    "status": "running",
    "progress_percentage": 50,
    "total_insights": 2,
    "completed_insights": 1,
    "failed_insights": 0,
    "created_at": "2026-01-05T09:31:01Z",
    "started_at": "2026-01-05T09:31:04Z",
    "deadline_at": "2026-01-05T09:41:01Z",
    "finished_at": None,
    "insights": [
        COMPLETED,
        {
            **PENDING,
            "id": "5c4b3a29-1807-4f6e-8d5c-4b3a29180755",
            "insight_type_id": "playfulness_romance",
            "title": "Playfulness & Keeping Romance Alive",
        },
    ],
}

DOCUMENT: dict[str, Any] = {
    "schema_version": 1,
    "overall": {"score": 8, "rating": "excellent", "summary": "Both begin, both answer, and neither waits for long."},
    "sections": [
        {
            "key": "initiation_balance",
            "title": "Starting conversations",
            "rating": "balanced",
            "finding": "Asha and Ravi start about as often as each other.",
            "people": [{"name": "Asha", "rating": None, "note": "Often the first in the morning."}],
            "facts": [{"label": "Conversations started", "person": "Asha", "value": 52, "unit": "percent"}],
            "evidence": [
                {
                    "context": "An ordinary morning",
                    "messages": [
                        {
                            "number": 2,
                            "sender": "Asha",
                            "sent_at": "2024-01-14T08:02:00",
                            "text": "Good morning! Chai at five?",
                        }
                    ],
                }
            ],
        }
    ],
    "recommendations": [
        {
            "id": "r1",
            "title": "Keep the morning message",
            "for": ["Asha", "Ravi"],
            "suggestion": "Take turns in writing first.",
            "why": "It is what both answer soonest.",
            "example": "Morning! What is your day like?",
        }
    ],
    "sufficiency": {
        "messages_read": 380,
        "messages_total": 4213,
        "first_at": "2024-01-14T08:02:00",
        "last_at": "2025-11-02T22:41:00",
        "limits": [],
    },
    "provenance": {
        "engine": "local",
        "model": "rules-2",
        "method": "counted",
        "type_version": 1,
        "prompt_version": "1",
        "tokens": {"in": 0, "out": 0},
        "milliseconds": 41,
        "citations": {"given": 3, "kept": 3, "dropped": 0},
        "verification": None,
        "reading": None,
    },
    "language": "en",
}

INSIGHTS = {
    "chat_id": CHAT_ID,
    "insights": [
        {
            **COMPLETED,
            "job_id": JOB_ID,
            "category_id": "romantic",
            "icon": "💬",
            "language": "en",
            "created_at": "2026-01-05T09:31:01Z",
            "up_to_message": 4227,
            "is_outdated": False,
            "document": DOCUMENT,
        }
    ],
}

DISCLOSURE = {
    "engine": "gemini",
    "sends": True,
    "host": "generativelanguage.googleapis.com",
    "reading_model": "gemini-3.5-flash-lite",
    "writing_model": "gemini-3.8-flash",
    "pseudonyms": True,
    "texts": 1,
    "tokens": 1480,
    "note": "First the chat is read: each text below is sent once, with the instructions before it.",
    "instructions": "You read a part of a chat between people …",
    "next": None,
    "previous": None,
    "results": [
        {
            "number": 1,
            "first_message": 1,
            "last_message": 2,
            "messages": 2,
            "tokens": 1480,
            "text": "The people: P1, P2.\nThe messages:\n[#1 2024-03-14 21:05 P1] P2, call me: [phone]\n"
            "[#2 2024-03-14 21:06 P2] ok P1",
        }
    ],
}

TIMELINE: dict[str, Any] = {
    "chat_id": CHAT_ID,
    "next": f"https://relivchats.example/api/chats/{CHAT_ID}/timeline?after=2024-03&limit=2",
    "previous": None,
    "read": {"is_shown": True, "entries": 41, "note": ""},
    "notice": "",
    "results": [
        {
            "month": "2024-01",
            "entries": [
                {
                    "kind": "first_message",
                    "source": "counted",
                    "starts_at": "2024-01-14T08:02:00",
                    "ends_at": "2024-01-14T08:02:00",
                    "title": "The first message",
                    "sentence": "Asha wrote the first message of this chat.",
                    "subject": "",
                    "people": ["Asha"],
                    "figures": [],
                    "numbers": [2],
                }
            ],
        },
        {
            "month": "2024-03",
            "entries": [
                {
                    "kind": "argument",
                    "source": "read",
                    "starts_at": "2024-03-02T21:10:00",
                    "ends_at": "2024-03-03T00:25:00",
                    "title": "A tense moment about everyday tasks",
                    "sentence": "There was tension between Asha and Ravi about everyday tasks. They made up 3 hours"
                    " after it began.",
                    "subject": "who cleans the kitchen",
                    "people": ["Asha", "Ravi"],
                    "figures": [{"label": "Time until calm", "value": 11700.0, "unit": "seconds"}],
                    "numbers": [812, 815, 841],
                },
                {
                    "kind": "silence",
                    "source": "counted",
                    "starts_at": "2024-03-11T22:40:00",
                    "ends_at": "2024-03-16T07:15:00",
                    "title": "A silence",
                    "sentence": "Nobody wrote for 4 days. Then Ravi wrote again.",
                    "subject": "",
                    "people": ["Ravi"],
                    "figures": [{"label": "Time without a message", "value": 376500.0, "unit": "seconds"}],
                    "numbers": [901, 902],
                },
            ],
        },
    ],
}

FREE_TIMELINE = {
    **TIMELINE,
    "next": None,
    "read": {
        "is_shown": False,
        "entries": None,
        "note": "The chat has not been read yet. It is read when you unlock an insight, and its plans, special"
        " occasions and best moments appear here then.",
    },
    "results": TIMELINE["results"][:1],
}

QUESTION_ID = "5b0f4b0e-8b7e-4f0a-9a65-2d9b1c3e7f55"
CONVERSATION_ID = "c2b6f1de-53a1-4a0b-8c41-6f2e9d7a1b66"
_CITED = [
    {"number": 1042, "sender": "Asha", "sent_at": "2024-03-14T21:05:00", "text": "so it is Pune then? in August?"},
    {"number": 1043, "sender": "Ravi", "sent_at": "2024-03-14T21:06:00", "text": "yes, Pune. I will tell the landlord"},
]
ANSWERED_QUESTION = {
    "id": QUESTION_ID,
    "chat_id": CHAT_ID,
    "conversation": CONVERSATION_ID,
    "question": "Where did we want to move to?",
    "language": "en",
    "status": "answered",
    "step": "done",
    "messages_read": 164,
    "price": 0,
    "error_code": "",
    "engine": "gemini",
    "model": "gemini-3.8-flash",
    "created_at": "2026-05-02T10:00:00Z",
    "finished_at": "2026-05-02T10:00:09Z",
    "answer": {
        "outcome": "answered",
        "answer": "Asha and Ravi decided to move to Pune in August.",
        "notice": "",
        "claims": [{"sentence": "Asha and Ravi decided to move to Pune in August.", "messages": _CITED}],
        "conversations": [],
        "messages_read": 164,
        "language": "en",
    },
}
OPEN_QUESTION = {
    **ANSWERED_QUESTION,
    "status": "answering",
    "step": "reading",
    "engine": "",
    "model": "",
    "finished_at": None,
    "answer": None,
}
RAG_ANSWER = {
    "id": QUESTION_ID,
    "chat_id": CHAT_ID,
    "conversation_id": CONVERSATION_ID,
    "status": "answered",
    "question": "Where did we want to move to?",
    "outcome": "answered",
    "answer": "Asha and Ravi decided to move to Pune in August.",
    "sources": _CITED,
}
OPEN_RAG_ANSWER = {**RAG_ANSWER, "status": "answering", "outcome": "", "answer": None, "sources": []}

PROGRESS_EVENT = 'event: progress\ndata: {"step": "reading", "messages_read": 164}\n\n'
EVENTS = (
    PROGRESS_EVENT
    + 'event: claim\ndata: {"sentence": "Asha and Ravi decided to move to Pune in August.", "messages": […]}\n\n'
    + 'event: done\ndata: {"status": "answered", …}\n\n'
)
