"""A check of ours beside Schemathesis's own: nobody sees or touches what belongs to a tenant that is not theirs.

`E3_FOREIGN` holds the ids that whoever calls must not come by.
"""

import os

import schemathesis

FOREIGN = os.environ.get("E3_FOREIGN", "").split()


@schemathesis.check
def others_stay_unseen(ctx, response, case):
    """Fails if an answer holds a foreign id that was not sent, or grants something of a foreign thing."""
    address = response.request.url
    sent = f"{address} {response.request.body!r}"
    for foreign in FOREIGN:
        if foreign in address.partition("?")[0]:
            assert response.status_code >= 400, f"{foreign}, which is another tenant's, was answered for"
        if foreign not in sent:
            assert foreign not in response.text, f"{foreign}, which is another tenant's, was told"
