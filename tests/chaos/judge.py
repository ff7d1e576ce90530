"""What must be true of every guest once all is at rest, whatever was done: the first half of the invariants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.chaos.account import ALIVE, UNSEEN, Account, Verdict, View


def judged(
    account: Account, view: View | None, ends: list[View], processes: list[int], *, unwatched: bool
) -> Iterator[str]:
    """What is wrong with a guest, a sentence each.

    ``ends`` are those that were told since it was last at rest, ``processes`` the QEMUs that have its lock.
    ``unwatched``: for some of the time there was no daemon.
    """
    if len(processes) > 1:
        yield f"it is doubled: its QEMUs are {processes}"
    if view is None:
        if processes:
            yield f"it is lost: nobody knows of QEMU {processes}"
        if account.file == "good":
            yield "it is lost: its file is there, and nobody knows it"
        return
    if processes != ([view["pid"]] if view["pid"] else []):
        yield f"its process is told to be {view['pid']}, and it is {processes}"
    if (view["phase"] in ALIVE) != bool(view["pid"]):
        yield f"it is {view['phase']}, and its process is {view['pid']}"
    yield from _wanted(account, view)
    yield from _causes(account, ends, unwatched=unwatched)
    yield from _undisturbed(account, view)
    yield from _remembered(account, view)


def _wanted(account: Account, view: View) -> Iterator[str]:
    if view["wanted"] not in account.wanted and not account.forgetful:
        yield f"it is wanted {view['wanted']}, and an operator wants it {sorted(account.wanted)}"
    last = view["last-end"]
    # A QEMU that lies about its state is believed.
    rests = (
        account.may_pause()
        or account.guest.is_fake
        or "pause" in map(account.guest.rules.get, account.causes)
    )
    match view["phase"]:
        case "stopped" if view["wanted"] == "running":
            if last is None or not account.stays_off(last["cause"]):
                yield f"it is off, though it is wanted running: {view['reason']}"
        case "gave-up":
            if not account.guest.limit:
                yield f"it has given up, though its file sets no limit: {view['reason']}"
        case "running" | "paused" if view["wanted"] == "stopped":
            yield f"it is {view['phase']}, though it is wanted stopped: {view['reason']}"
        case "running" if account.paused == {True} and not account.may and not account.guest.is_fake:
            yield f"it runs, though an operator has paused it: {view['reason']}"
        case "paused" if not rests:
            yield f"its vCPUs stand still, and nobody has wanted that: {view['reason']}"


def _causes(account: Account, ends: list[View], *, unwatched: bool) -> Iterator[str]:
    may = list(account.may)
    if (may or account.started or account.forgetful) and unwatched:
        # A start that a daemon left half done may have come to a QEMU, or not.
        may.append(Verdict(UNSEEN))
    if account.deeds > 1:
        may.append(Verdict("start-failed"))
    for end in ends:
        # Where nothing could be written there is less to go by.
        known = account.forgetful and end["cause"] in account.causes
        if not known and not any(verdict.covers(end) for verdict in may):
            told = f"{end['cause']} ({end['status']}): {end['detail']}"
            yield f"its end was told as {told}; it was {may or 'not touched'}"
    if account.must and not ends and not account.forgetful:
        yield "its process was ended, and no end was told"


def _undisturbed(account: Account, view: View) -> Iterator[str]:
    before = account.view
    if before is None or account.may or account.forgetful or account.started:
        return
    if before["pid"] and view["pid"] != before["pid"]:
        yield f"nothing has ended its QEMU {before['pid']}, and now it is {view['pid']}"
    if view["restarts"] > before["restarts"]:
        yield f"nothing was done that ends it, and it was restarted {view['restarts']} times"


def _remembered(account: Account, view: View) -> Iterator[str]:
    before = account.view and account.view["last-end"]
    now = view["last-end"]
    if before and not account.forgetful and (now is None or now["at"] < before["at"]):
        yield f"it has forgotten how it ended: {before['cause']} at {before['at']}"


def told_ends(
    events: list[View], before: Mapping[str, View | None], views: Mapping[str, View]
) -> dict[str, list[View]]:
    """The ends of each guest that events or its present view tell of, and that were not known before."""
    ends: dict[str, list[View]] = {}
    for event in events:
        if event["event"] == "GUEST_ENDED":
            ends.setdefault(event["data"]["name"], []).append(event["data"])
    for name, view in views.items():
        last, earlier = view["last-end"], before.get(name)
        known = earlier["last-end"] if earlier else None
        if last and (known is None or last["at"] > known["at"]):
            ends.setdefault(name, []).append(last)
    return ends
