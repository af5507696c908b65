"""The API schema of a chat's statistics, which `chats.statistics` counts and docs/statistics.md defines."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


def _integer(help_text: str = "") -> serializers.IntegerField:
    return serializers.IntegerField(help_text=help_text)


def _nullable_float(help_text: str = "") -> serializers.FloatField:
    return serializers.FloatField(allow_null=True, help_text=help_text)


def _counts(help_text: str) -> serializers.DictField:
    return serializers.DictField(child=serializers.IntegerField(), help_text=help_text)


class TimeRangeSerializer(serializers.Serializer[Any]):
    """Two times or dates, as the export's clock shows them, without a zone."""

    start = serializers.CharField(allow_null=True)
    end = serializers.CharField(allow_null=True)


class WordCountSerializer(serializers.Serializer[Any]):
    """A word in lower case and its uses."""

    word = serializers.CharField()
    count = serializers.IntegerField()


class EmojiCountSerializer(serializers.Serializer[Any]):
    """An emoji without skin tone and its uses."""

    emoji = serializers.CharField()
    count = serializers.IntegerField()


class SiteCountSerializer(serializers.Serializer[Any]):
    """A host without `www.` and the links to it."""

    site = serializers.CharField()
    count = serializers.IntegerField()


class SentLinkSerializer(serializers.Serializer[Any]):
    """A link, who sent it, and when."""

    url = serializers.CharField(help_text="At most 2,000 characters.")
    user = serializers.CharField()
    timestamp = serializers.CharField()


class ShareSerializer(serializers.Serializer[Any]):
    """A count and its share of all."""

    count = serializers.IntegerField()
    share_percent = serializers.FloatField()


class ResponseBucketSerializer(serializers.Serializer[Any]):
    """Responses that took at least `from_seconds` and less than `below_seconds`."""

    from_seconds = serializers.IntegerField()
    below_seconds = serializers.IntegerField()
    count = serializers.IntegerField()


class MonthlyResponseTimesSerializer(serializers.Serializer[Any]):
    """Response times of one month."""

    responses = serializers.IntegerField()
    median_response_time_seconds = serializers.FloatField()
    p90_response_time_seconds = serializers.IntegerField()


class MentionCountSerializer(serializers.Serializer[Any]):
    """A mentioned name and how often it is mentioned."""

    name = serializers.CharField(help_text="A participant's name, or the label as it was written.")
    count = serializers.IntegerField()


class DistinctiveWordSerializer(serializers.Serializer[Any]):
    """A word that a person uses significantly more often than the others."""

    word = serializers.CharField()
    count = serializers.IntegerField()
    score = serializers.FloatField(
        help_text="Log-odds ratio of this person's use and all others', in standard deviations."
    )


class SentimentSerializer(serializers.Serializer[Any]):
    """Counts of positive and negative words and emoji, and their balance."""

    positive = serializers.IntegerField(help_text="Positive words and emoji from the lexicon.")
    negative = serializers.IntegerField(help_text="Negative words and emoji from the lexicon.")
    messages = serializers.IntegerField(help_text="Messages that contain any of them.")
    balance = serializers.FloatField(
        allow_null=True, help_text="From -1, only negative, to 1, only positive; null below 20 words and emoji."
    )


class LanguageAndSentimentSerializer(serializers.Serializer[Any]):
    """Languages and sentiment of texts and captions."""

    language_mix = serializers.DictField(
        child=ShareSerializer(),
        help_text="Texts with words, by language or script. `unknown` and `mixed` are possible keys.",
    )
    sentiment = SentimentSerializer()
    sentiment_by_month = serializers.DictField(
        child=SentimentSerializer(), help_text="Months with words or emoji from the lexicon, such as `2024-02`."
    )


class LongestMessageSerializer(serializers.Serializer[Any]):
    """The message with the most characters."""

    word_count = serializers.IntegerField()
    char_count = serializers.IntegerField()
    timestamp = serializers.CharField()
    message = serializers.CharField(help_text="Its first 500 characters.")


class ResponseTimesSerializer(serializers.Serializer[Any]):
    """Response times in seconds; null without responses."""

    responses = serializers.IntegerField(help_text="The number of responses.")
    avg_response_time_seconds = _nullable_float()
    median_response_time_seconds = _nullable_float()
    p90_response_time_seconds = _nullable_float("Nine of ten responses took this long or less.")
    response_time_distribution = ResponseBucketSerializer(many=True)
    response_times_by_month = serializers.DictField(
        child=MonthlyResponseTimesSerializer(), help_text="Months with responses, such as `2024-02`."
    )


def _recorded(help_text: str) -> serializers.IntegerField:
    return serializers.IntegerField(allow_null=True, help_text=f"{help_text} Null if the export does not contain it.")


class MediaAndCallsSerializer(serializers.Serializer[Any]):
    """Media by kind, and durations."""

    media_by_kind = serializers.DictField(
        child=serializers.IntegerField(),
        allow_null=True,
        help_text="photo, video, voice, audio, gif, sticker, document, and unspecified: the export does not say."
        " Null if it never says.",
    )
    call_seconds = _recorded("The duration of all calls.")
    voice_seconds = _recorded("The duration of all voice messages.")


class ReplyCountSerializer(serializers.Serializer[Any]):
    """How often one person replied to another with a quotation. Both can be the same person."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields. `from` is a keyword of Python, so it cannot be an attribute."""
        return {
            "from": serializers.CharField(),
            "to": serializers.CharField(),
            "count": serializers.IntegerField(),
        }


class ReactedMessageSerializer(serializers.Serializer[Any]):
    """A message with many reactions."""

    number = serializers.IntegerField()
    user = serializers.CharField()
    timestamp = serializers.CharField()
    reactions = serializers.IntegerField()
    top_emoji = serializers.CharField()
    message = serializers.CharField(help_text="Its first 500 characters.")


class PersonFiguresSerializer(ResponseTimesSerializer, LanguageAndSentimentSerializer, MediaAndCallsSerializer):
    """The figures of one person."""

    message_count = _integer()
    word_count = _integer()
    avg_words_per_message = _nullable_float()
    avg_message_length_chars = _nullable_float()
    deleted_messages = _integer()
    media_shared = _integer()
    links_shared = _integer()
    calls = _integer()
    edited_messages = _integer()
    conversation_initiations = _integer("First messages after six hours of silence.")
    conversation_initiations_percent = _nullable_float()
    conversation_endings = _integer(
        "Last messages before six hours of silence. The chat's last message does not count."
    )
    conversation_endings_percent = _nullable_float()
    double_texting_rate = _nullable_float("Percentage of this person's turns with two or more messages.")
    questions_asked = _integer()
    mentions_written = _integer("`@name` in this person's texts.")
    times_mentioned = _integer("`@name` of this person in all texts.")
    forwarded_messages = _recorded("Messages that the person forwarded.")
    replies_sent = _recorded("Replies that quote a message.")
    replies_received = _recorded("Replies that quote a message of this person.")
    reactions_given = _recorded("Reactions of this person, as far as the export names who reacted.")
    reactions_received = _recorded("Reactions to messages of this person.")
    distinctive_words = DistinctiveWordSerializer(
        many=True, help_text="Up to 20 words that this person uses significantly more often than the others."
    )
    top_words = WordCountSerializer(many=True)
    top_emojis = EmojiCountSerializer(many=True)
    busiest_hour = serializers.IntegerField(allow_null=True)
    hourly_distribution = serializers.ListField(child=serializers.IntegerField(), help_text="24 counts, from midnight.")
    messages_by_month = _counts("Messages of each month.")
    longest_message = LongestMessageSerializer(allow_null=True)


class PeriodSerializer(serializers.Serializer[Any]):
    """Days of the chat's own clock, both included."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields. `from` is a keyword of Python, so it cannot be an attribute."""
        return {"from": serializers.DateField(), "to": serializers.DateField()}


class OthersSerializer(PersonFiguresSerializer):
    """The same figures for all people who are not listed, together."""

    people = _integer("The number of these people.")


class StatisticsSerializer(ResponseTimesSerializer, LanguageAndSentimentSerializer, MediaAndCallsSerializer):
    """All figures of a chat."""

    total_messages = _integer("Messages that people sent. System lines are not counted.")
    total_words = _integer()
    deleted_messages_count = _integer()
    media_shared_count = _integer()
    links_shared_count = _integer()
    calls_count = _integer()
    edited_messages_count = _integer()
    questions_count = _integer()
    mentions_count = _integer("`@name` in texts.")
    top_mentions = MentionCountSerializer(many=True)
    top_words = WordCountSerializer(many=True)
    top_emojis = EmojiCountSerializer(many=True)
    date_range = TimeRangeSerializer()
    first_message_at = serializers.CharField(allow_null=True)
    last_message_at = serializers.CharField(allow_null=True)
    total_days = _integer("Days from the first to the last, both included.")
    active_days = _integer("Days with messages.")
    messages_per_day_avg = _nullable_float()
    messages_by_date = _counts("Messages of each day.")
    messages_by_month = _counts("Messages of each month.")
    busiest_hour = serializers.IntegerField(allow_null=True)
    busiest_day = serializers.CharField(allow_null=True, help_text="A weekday in English.")
    hourly_distribution = serializers.ListField(child=serializers.IntegerField(), help_text="24 counts, from midnight.")
    daily_distribution = _counts("Messages of each weekday.")
    weekday_hour_distribution = serializers.DictField(
        child=serializers.ListField(child=serializers.IntegerField()), help_text="24 counts for each weekday."
    )
    conversations_count = _integer("A conversation starts after six hours of silence.")
    conversation_starts = serializers.DictField(
        child=ShareSerializer(), help_text="By person: conversations whose first message is theirs."
    )
    conversation_ends = serializers.DictField(
        child=ShareSerializer(), help_text="By person: conversations whose last message is theirs."
    )
    longest_streak_days = _integer("Consecutive days with messages.")
    longest_streak = TimeRangeSerializer(allow_null=True)
    current_streak_days = _integer("The streak that includes the last day of the export.")
    longest_silence_seconds = _integer()
    longest_silence = TimeRangeSerializer(allow_null=True)
    links = SentLinkSerializer(many=True, help_text="The first 1,000.")
    top_sites = SiteCountSerializer(many=True)
    forwarded_messages_count = _recorded("Forwarded messages. Their words are not counted as anybody's.")
    replies_count = _recorded("Replies that quote a message.")
    top_replies = ReplyCountSerializer(many=True, allow_null=True, help_text="Who replies to whom: the 50 most often.")
    reactions_count = _recorded("Reactions to messages.")
    top_reactions = EmojiCountSerializer(many=True, allow_null=True)
    most_reacted_messages = ReactedMessageSerializer(
        many=True, allow_null=True, help_text="The 10 messages with the most reactions."
    )
    user_stats = serializers.DictField(
        child=PersonFiguresSerializer(), help_text="By person: the 50 most active, the most active first."
    )
    others = OthersSerializer(allow_null=True, help_text="All people beyond these 50 together.")

    def to_representation(self, instance: Any) -> Any:
        """Return the figures as they are: they come from a sealed column as one JSON object."""
        return instance


class ChangeSerializer(serializers.Serializer[Any]):
    """A figure in the other period and in this one."""

    before = serializers.FloatField(allow_null=True)
    after = serializers.FloatField(allow_null=True)
    change_percent = serializers.FloatField(allow_null=True, help_text="Null if `before` is 0 or null.")


class ComparisonSerializer(serializers.Serializer[Any]):
    """The statistics of another period, and what changed from it."""

    period = PeriodSerializer()
    statistics = StatisticsSerializer()
    changes = serializers.DictField(child=ChangeSerializer(), help_text="By figure, such as `total_messages`.")


class PeriodStatisticsSerializer(StatisticsSerializer):
    """The figures of a whole chat, or of a period."""

    period = PeriodSerializer(allow_null=True, help_text="Null for the whole chat.")
    comparison = ComparisonSerializer(allow_null=True, help_text="Null without a period to compare with.")
