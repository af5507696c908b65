"""The statistics of a chat, described for the API's readers. `chats.statistics` counts them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


def _whole(words: str = "") -> serializers.IntegerField:
    return serializers.IntegerField(help_text=words)


def _figure(words: str = "") -> serializers.FloatField:
    return serializers.FloatField(allow_null=True, help_text=words)


def _counts(words: str) -> serializers.DictField:
    return serializers.DictField(child=serializers.IntegerField(), help_text=words)


class SpanSerializer(serializers.Serializer[Any]):
    start = serializers.CharField(allow_null=True, help_text="The wall clock of the export, without a zone.")
    end = serializers.CharField(allow_null=True)


class WordCountSerializer(serializers.Serializer[Any]):
    word = serializers.CharField()
    count = serializers.IntegerField()


class EmojiCountSerializer(serializers.Serializer[Any]):
    emoji = serializers.CharField()
    count = serializers.IntegerField()


class SiteCountSerializer(serializers.Serializer[Any]):
    site = serializers.CharField()
    count = serializers.IntegerField()


class SentLinkSerializer(serializers.Serializer[Any]):
    url = serializers.CharField()
    user = serializers.CharField()
    timestamp = serializers.CharField()


class ShareSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField()
    share_percent = serializers.FloatField()


class ResponseBucketSerializer(serializers.Serializer[Any]):
    """Answers that took `from_seconds` or longer, and less than `below_seconds`."""

    from_seconds = serializers.IntegerField()
    below_seconds = serializers.IntegerField()
    count = serializers.IntegerField()


class MonthOfResponsesSerializer(serializers.Serializer[Any]):
    responses = serializers.IntegerField()
    median_response_time_seconds = serializers.FloatField()
    p90_response_time_seconds = serializers.IntegerField()


class MentionCountSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="Of a participant, or the label as it was written.")
    count = serializers.IntegerField()


class DistinctiveWordSerializer(serializers.Serializer[Any]):
    word = serializers.CharField()
    count = serializers.IntegerField()
    score = serializers.FloatField(help_text="Log-odds against everybody else, in standard deviations.")


class SentimentSerializer(serializers.Serializer[Any]):
    positive = serializers.IntegerField(help_text="Words and emoji from the list that praise or please.")
    negative = serializers.IntegerField(help_text="Words and emoji from the list that blame or hurt.")
    messages = serializers.IntegerField(help_text="Messages that hold any of them.")
    balance = serializers.FloatField(
        allow_null=True, help_text="From -1, only negative, to 1, only positive; null below 20 of them."
    )


class LanguageAndSentimentSerializer(serializers.Serializer[Any]):
    language_mix = serializers.DictField(
        child=ShareSerializer(),
        help_text="TextPage with words by language or script; `unknown` and `mixed` are among them.",
    )
    sentiment = SentimentSerializer()
    sentiment_by_month = serializers.DictField(
        child=SentimentSerializer(), help_text="The months that hold words from the list."
    )


class LongestMessageSerializer(serializers.Serializer[Any]):
    word_count = serializers.IntegerField()
    char_count = serializers.IntegerField()
    timestamp = serializers.CharField()
    message = serializers.CharField(help_text="Its first 500 characters.")


class ResponseTimesSerializer(serializers.Serializer[Any]):
    """How soon an answer came, in seconds; null where nobody answered."""

    responses = serializers.IntegerField(help_text="How many answers there were.")
    avg_response_time_seconds = _figure()
    median_response_time_seconds = _figure()
    p90_response_time_seconds = _figure("Nine of ten answers came as soon or sooner.")
    response_time_distribution = ResponseBucketSerializer(many=True)
    response_times_by_month = serializers.DictField(
        child=MonthOfResponsesSerializer(), help_text="The months that have answers, such as `2024-02`."
    )


class PersonFiguresSerializer(ResponseTimesSerializer, LanguageAndSentimentSerializer):
    message_count = _whole()
    word_count = _whole()
    avg_words_per_message = _figure()
    avg_message_length_chars = _figure()
    deleted_messages = _whole()
    media_shared = _whole()
    links_shared = _whole()
    calls = _whole()
    edited_messages = _whole()
    conversation_initiations = _whole("First messages after six hours of silence.")
    conversation_initiations_percent = _figure()
    conversation_endings = _whole("Last messages before six hours of silence; the chat's last message is none.")
    conversation_endings_percent = _figure()
    double_texting_rate = _figure("Percent of this person's runs that hold two messages or more.")
    questions_asked = _whole()
    mentions_written = _whole("`@name` in this person's texts.")
    times_mentioned = _whole("`@name` of this person in anybody's texts.")
    distinctive_words = DistinctiveWordSerializer(
        many=True, help_text="Up to 20 words that this person uses surely more than the others do."
    )
    top_words = WordCountSerializer(many=True)
    top_emojis = EmojiCountSerializer(many=True)
    busiest_hour = serializers.IntegerField(allow_null=True)
    hourly_distribution = serializers.ListField(child=serializers.IntegerField(), help_text="24 counts, from midnight.")
    messages_by_month = _counts("Messages of each month.")
    longest_message = LongestMessageSerializer(allow_null=True)


class OthersSerializer(PersonFiguresSerializer):
    people = _whole("How many people these figures sum up.")


class StatisticsSerializer(ResponseTimesSerializer, LanguageAndSentimentSerializer):
    total_messages = _whole("What people sent; system lines are not counted.")
    total_words = _whole()
    deleted_messages_count = _whole()
    media_shared_count = _whole()
    links_shared_count = _whole()
    calls_count = _whole()
    edited_messages_count = _whole()
    questions_count = _whole()
    mentions_count = _whole("`@name` in texts.")
    top_mentions = MentionCountSerializer(many=True)
    top_words = WordCountSerializer(many=True)
    top_emojis = EmojiCountSerializer(many=True)
    date_range = SpanSerializer()
    first_message_at = serializers.CharField(allow_null=True)
    last_message_at = serializers.CharField(allow_null=True)
    total_days = _whole("From the first day to the last, both included.")
    active_days = _whole("Days on which somebody wrote.")
    messages_per_day_avg = _figure()
    messages_by_date = _counts("Messages of each day.")
    messages_by_month = _counts("Messages of each month.")
    busiest_hour = serializers.IntegerField(allow_null=True)
    busiest_day = serializers.CharField(allow_null=True, help_text="A weekday in English.")
    hourly_distribution = serializers.ListField(child=serializers.IntegerField(), help_text="24 counts, from midnight.")
    daily_distribution = _counts("Messages of each weekday.")
    weekday_hour_distribution = serializers.DictField(
        child=serializers.ListField(child=serializers.IntegerField()), help_text="24 counts for each weekday."
    )
    conversations_count = _whole("Conversations begin after six hours of silence.")
    conversation_starts = serializers.DictField(
        child=ShareSerializer(), help_text="By person: who wrote the first message."
    )
    conversation_ends = serializers.DictField(
        child=ShareSerializer(), help_text="By person: who wrote the last message before the silence."
    )
    longest_streak_days = _whole("Days in a row with messages.")
    longest_streak = SpanSerializer(allow_null=True)
    current_streak_days = _whole("The streak that the export ends with.")
    longest_silence_seconds = _whole()
    longest_silence = SpanSerializer(allow_null=True)
    links = SentLinkSerializer(many=True, help_text="The first thousand.")
    top_sites = SiteCountSerializer(many=True)
    user_stats = serializers.DictField(
        child=PersonFiguresSerializer(), help_text="By person: the 50 who wrote most, the busiest first."
    )
    others = OthersSerializer(allow_null=True, help_text="Everybody beyond those 50 together.")

    def to_representation(self, instance: Any) -> Any:
        """As it was counted: the figures come from a sealed column, not from rows."""
        return instance
