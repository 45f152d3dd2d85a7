"""R-31: the answer to a list of keys always fits, always parses, and says what it leaves out."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gossip.wire.keyring import encode_key
from gossip.wire.serf import KeyRequest, KeyResponse, Query, QueryResponse, decode_serf
from tests.rigs import PORT, NodeRig, ip_of

keys = st.lists(
    st.sampled_from([16, 24, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size)),
    min_size=1,
    max_size=64,
    unique=True,
)


@settings(max_examples=60, deadline=None)
@given(keys, st.integers(1, 2000), st.integers(0, 2**32 - 1))
def test_r31_a_list_of_keys_fits_parses_and_says_what_it_leaves_out(
    ring: list[bytes], limit: int, number: int
) -> None:
    rig = NodeRig(keys=ring, query_response_size_limit=limit)
    rig.quiet()

    rig.hear_serf(
        Query(
            9, number, ip_of("asker"), PORT, "asker", [], 0, 0, 10**9,
            "_serf_list-keys", KeyRequest(b"").encode(),
        )
    )  # fmt: skip

    sent = [m for m, _ in rig.sent_serf() if isinstance(m, QueryResponse)]
    if not sent:
        assert rig.stats["query_responses_too_large"] == 1
        assert limit < 300  # not even the notice fits
        return
    (response,) = sent
    assert len(response.encode()) <= limit
    answer = decode_serf(response.payload)
    assert isinstance(answer, KeyResponse)
    assert answer.result
    assert answer.primary_key == encode_key(ring[0])
    assert answer.keys == [encode_key(key) for key in ring[: len(answer.keys)]]
    if len(answer.keys) == len(ring):
        assert answer.message == ""
    else:
        shown = re.fullmatch(r"truncated key list response, showing first (\d+) of (\d+) keys", answer.message)  # fmt: skip
        assert shown is not None
        assert [int(n) for n in shown.groups()] == [len(answer.keys), len(ring)]
        longer = KeyResponse(
            result=True,
            message=f"truncated key list response, showing first {len(answer.keys) + 1} of {len(ring)} keys",
            keys=[encode_key(key) for key in ring[: len(answer.keys) + 1]],
            primary_key=answer.primary_key,
        )
        full = QueryResponse(9, number, "me", 0, longer.encode())
        assert len(full.encode()) > limit or len(answer.keys) + 1 == len(ring)
