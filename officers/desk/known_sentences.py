"""Sentences of protocol, custodians and aggregator that reach officers as text, for `recognising`.

As they are written there, with names where something is put in; a test finds one that nobody
writes any more. Names of numbers stand in `recognising`.
"""

from __future__ import annotations

from runtime.phrases import marked

_AUTHORIZATION = (
    marked("the programme has ended: nothing is granted any more"),
    marked("the query was signed under another policy than the one in force"),
    marked("the query is dated in the future; check the requester's clock"),
    marked("the query has expired (its not-after time has passed)"),
    marked("the policy knows no legal basis '{basis}'"),
    marked("the query asks for {asked} subjects; the policy permits {limit}"),
    marked("the query asks for {asked} cameras; the policy permits {limit}"),
    marked("the query asks for {asked} candidates; the policy permits {limit}"),
    marked("the query asks for {asked} window hours; the policy permits {limit}"),
    marked("the query asks for {asked} hours ahead of its asking; the policy permits {limit}"),
    marked("the query asks for {asked} days of validity; the policy permits {limit}"),
    marked("the query asks for {asked} stills; the policy permits {limit}"),
    marked("the query is live; the policy permits none (max_live_hours is 0)"),
    marked("the query is live; the policy permits none"),
    marked("on the legal basis '{basis}' the policy does not permit {kinds}"),
    marked("a {modality} template needs recorded consent"),
    marked("the policy permits no query for {purpose}; its purposes are: {purposes}"),
    marked("the query asks for contacts ({wanted}); the policy permits {permitted}"),
    marked("the query counts who else was there; the policy permits none"),
    marked("the query follows people by their clothes; the policy permits none"),
    marked("the query follows people by their clothes and asks to open no appearance templates"),
    marked("{count} officers must confirm a hit; the query names {total}, the requester with them"),
    marked("'{name}' cannot confirm hits: {error}"),
    marked("the query asks to open {modality} templates and brings no template to compare"),
    marked("a threshold is given for {model}, and no template of that model"),
    marked("the threshold {score} for {model} is below the policy's {floor}"),
    marked("the query brings an example twice"),
    marked("the requester '{name}' has withdrawn the query"),
    marked("{names} withdrew approval: {count} of {needed} approvals stand"),
    marked("{count} of {needed} approvals"),
    marked("the approval of '{name}' is not valid: {error}"),
    marked("the approval of '{name}' is for another query"),
    marked("the approval of '{name}' was given under another policy"),
    marked("'{name}' cannot approve a query of their own"),
    marked("the directory does not list '{name}'"),
    marked("investigator '{name}' has been revoked"),
    marked("approver '{name}' has been revoked"),
    marked("its requester '{name}' has been revoked"),
    marked(
        "{who} was witnessed by nobody, and the policy asks for it: have a second officer sign "
        "with `sealtrace subject witness`"
    ),
    marked("'{name}' cannot witness {who}, whom they ask for"),
    marked("the witness's statement over {who} is dated in the future"),
    marked("the decision of '{name}' is on another query's candidate"),
    marked("the decision is by '{name}', whom the query does not name to confirm hits"),
)

_AGGREGATOR = (
    marked("the subjects' templates have to come"),
    marked(
        "{count} of {total} custodians granted, {needed} are needed, so nothing was opened "
        "({reasons})"
    ),
    marked("{reason}; trying again"),
    marked("an error of the program: {kind}"),
    marked(
        "the keys of {cameras} do not open what was sealed there, so one of the custodians that "
        "answered released false ones; the silent ones are asked again"
    ),
    marked("what the cameras watched is being added up"),
    marked("the machines that match cannot be reached; it goes on by itself once they can"),
    marked("no machine that matches is connected; it goes on by itself once one is"),
    marked(
        "too few custodians released the last quarter hours of {cameras} (their clocks may be "
        "behind); they are asked again"
    ),
    marked("{count} camera-days stayed closed (see the custodians' refusals)"),
    marked("nothing was compared with the example at {camera}: {why}"),
    marked("the window has not ended"),
    marked("segments of the last quarter hour may still come"),
    marked("nobody was followed from the hit at {camera}: {why}"),
    marked("{count} candidate waits to be confirmed or rejected: {what}"),
    marked("{count} candidates wait to be confirmed or rejected: {what}"),
    marked("those that are confirmed are followed by their clothes"),
    marked("of those near who is confirmed it is told who is one person"),
    marked("who came after those that are confirmed is counted"),
    marked(
        "{count} hit waits for custodian {names} to open what is known ({reasons}); asked again"
    ),
    marked(
        "{count} hits wait for custodian {names} to open what is known ({reasons}); asked again"
    ),
    marked("{count} hit waits to be opened"),
    marked("{count} hits wait to be opened"),
    marked("what is known of {count} hit stayed closed ({reasons})"),
    marked("what is known of {count} hits stayed closed ({reasons})"),
)

_PEERS = (
    marked("{where} cannot be reached: {why}"),
    marked("its certificate is not acceptable ({why})"),
    marked("the directory gives no address for '{name}'"),
    marked("its software is of an older version: it needs its update"),
    marked("the passphrase does not open {file} (or the file was altered); try again"),
    marked(
        "{file} is not the key that the site's directory lists for '{name}'; nobody would accept "
        "what it signs: install the key that was issued last"
    ),
    marked("{file} is not a key file, or it is damaged; give another, or a backup"),
)

SENTENCES = (*_AUTHORIZATION, *_AGGREGATOR, *_PEERS)
