"""Targets that come after one on the other cloud, whom its function tells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from msgspec.structs import replace

from shared.destinations import Destination
from shared.targets import Cloud, Target


def followers_across(
    sites: Mapping[Cloud, Destination], targets: Sequence[Target], cloud: Cloud
) -> Iterator[Destination]:
    """Each follower on the other cloud, as a place that the function on this cloud sends to."""
    if not sites:
        return
    upstreams: dict[str, list[str]] = {}
    for upstream, follower in crossings(targets):
        if upstream.cloud is cloud and follower.cloud in sites:
            upstreams.setdefault(follower.name, []).append(upstream.name)
    for target in targets:
        if target.name in upstreams:
            yield replace(sites[target.cloud], follower=target.name, upstreams=tuple(upstreams[target.name]))


def with_followers(targets: Sequence[Target]) -> list[Target]:
    """The same targets, each with the keys of its followers on the other cloud."""
    keys: dict[str, list[str]] = {}
    for upstream, follower in crossings(targets):
        keys.setdefault(upstream.name, []).append(follower.key)
    return [
        replace(target, followers_across=tuple(keys[target.name])) if target.name in keys else target
        for target in targets
    ]


def crossings(targets: Sequence[Target]) -> Iterator[tuple[Target, Target]]:
    """Each upstream with each of its followers on the other cloud."""
    by_name = {target.name: target for target in targets}
    for target in targets:
        for name in dict.fromkeys(target.after):
            upstream = by_name.get(name)
            if upstream and upstream.cloud is not target.cloud:
                yield upstream, target
