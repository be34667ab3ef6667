"""The search attributes of every run, as `oms prepare` creates them. No personal data."""

from temporalio.common import SearchAttributeKey

ORDER = SearchAttributeKey.for_keyword("OmsOrder")
CHANNEL = SearchAttributeKey.for_keyword("OmsChannel")
STAGE = SearchAttributeKey.for_keyword("OmsStage")
LOCATION = SearchAttributeKey.for_keyword("OmsLocation")
NEEDS_ATTENTION = SearchAttributeKey.for_bool("OmsNeedsAttention")
BLOCKED_STEP = SearchAttributeKey.for_keyword_list("OmsBlockedStep")
PROMISE_BY = SearchAttributeKey.for_datetime("OmsPromiseBy")
TOTAL_MINOR = SearchAttributeKey.for_int("OmsTotalMinor")
