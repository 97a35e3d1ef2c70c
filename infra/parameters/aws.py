"""Parameters that the SAM template takes from the configuration.

    EventPattern1..6, SignalPattern      what the rules let through (`event_patterns`)
    GlueResources, SourceResources       what the role may refresh, and whose metadata it may read
    TellBuses, TellTopics, TellSecrets   what it may tell
    Buckets                              whose events must go to EventBridge: for people, nothing is granted by it
    ConfigFingerprint                    the package must have the same, or the function refuses to work

Everything is exact as long as it fits into a parameter of CloudFormation. Beyond that it names more than is needed,
which costs deliveries or grants reading, never an event; `notes` says so, and the way out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Final

from botocore.session import Session

from infra.parameters.errors import ParameterError
from infra.parameters.event_patterns import LONGEST_PATTERN, SLOTS, patterns_for, signal_pattern
from shared.config.load import Configuration
from shared.destinations import Destination
from shared.targets import Cloud, GlueTableChanged, GlueView, IcebergChanged, S3ObjectCreated, catalog_of
from shared.values import Value

LONGEST_PARAMETER: Final = 4096
"""Bytes: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html."""


SEVERAL_STACKS: Final = (
    "several stacks: several files, each with some of the targets, and each with an environment of its own "
    "(unstale infra aws --config FILE --write --environment NAME, sam deploy --config-env NAME)"
)
"""The way on where one stack cannot hold all."""


ANY_SIX: Final = "??????"
"""Characters that Secrets Manager adds to a secret's name in its ARN; nobody knows which
(https://docs.aws.amazon.com/secretsmanager/latest/userguide/auth-and-access_iam-policies.html)."""


class Inputs(Value, frozen=True):
    """Parameters of the template, and what their reader should know about them."""

    parameters: Mapping[str, str]
    notes: tuple[str, ...] = ()


def inputs(configuration: Configuration, region: str) -> Inputs:
    """The parameters for a deployment in this Region."""
    views = [target.resource for target in configuration.targets if isinstance(target.resource, GlueView)]
    if not views:
        raise ParameterError('no target is on AWS (kind = "glue-view"), so there is nothing to deploy there')
    patterns = patterns_for(configuration)
    resources, wider = glue_resources(views, region)
    texts = [*patterns.texts, *[""] * (SLOTS - len(patterns.texts))]
    parameters = {
        "Buckets": as_many_as_fit(buckets(configuration)),
        "GlueResources": ",".join(resources),
        "SourceResources": ",".join(source_resources(configuration, region)),
        **{f"EventPattern{number}": text for number, text in enumerate(texts, start=1)},
        "SignalPattern": signal_pattern(configuration.deployment.signal_sources),
        **_tell_parameters(configuration.package(Cloud.AWS).destinations, _account(views[0]), region),
        "ConfigFingerprint": configuration.fingerprint,
    }
    coarser = [f"the rules also let through {what}: the exact patterns do not fit" for what in patterns.coarser]
    notes = (*coarser, *wider)
    return Inputs(_within_limits(parameters), (*notes, f"all would fit in {SEVERAL_STACKS}") if notes else ())


def _within_limits(parameters: Mapping[str, str]) -> Mapping[str, str]:
    """The parameters as they are; raises `ParameterError` for one that CloudFormation or EventBridge would refuse."""
    for name, value in parameters.items():
        most, size = LONGEST_PATTERN if "Pattern" in name else LONGEST_PARAMETER, len(value.encode())
        if size > most:
            raise ParameterError(f"{name} takes {size} bytes, of {most} at most: deploy {SEVERAL_STACKS}")
    return parameters


def as_many_as_fit(names: Sequence[str]) -> str:
    """List names for a reader, separated by commas; what CloudFormation has no room for is counted."""
    whole = ",".join(names)
    for shown in range(len(names) - 1, -1, -1):
        if len(whole) <= LONGEST_PARAMETER:
            break
        whole = ",".join([*names[:shown], f"and {len(names) - shown} more"])
    return whole


def end_gradual_rollout(found: Inputs, before: Mapping[str, str]) -> Inputs:
    """Turn a gradual rollout off where the configuration is another one than before.

    Both versions would run side by side, and the older one ignores events of targets that it does not know.
    """
    known = before.get("ConfigFingerprint", "")
    if known in {"", found.parameters["ConfigFingerprint"]} or before.get("GradualRollout") == "false":
        return found
    note = "the configuration changed, so GradualRollout is now false; true is for updates that leave it as it is"
    return Inputs({**found.parameters, "GradualRollout": "false"}, (*found.notes, note))


def note_unread(found: Inputs, before: Mapping[str, str]) -> Inputs:
    """Note a parameter that the template had once, and where its value goes now."""
    if not (value := before.get("SignalSource")):
        return found
    note = f"SignalSource={value} is not read any more: name who may send signals in [deployment] signal_sources"
    return Inputs(found.parameters, (*found.notes, note))


def buckets(configuration: Configuration) -> tuple[str, ...]:
    """The buckets that must send their events to EventBridge."""
    sources = (source for target in configuration.targets if target.cloud is Cloud.AWS for source in target.on)
    return tuple(sorted({source.bucket for source in sources if isinstance(source, S3ObjectCreated)}))


# --- Where outcome events go ------------------------------------------------------------------------------------------


def _tell_parameters(destinations: Sequence[Destination], account: str, region: str) -> dict[str, str]:
    """ARNs of what outcome events are sent to, and of the secrets that this takes; each may be named or be an ARN."""
    here = f"arn:{_partition(region)}:{{}}:{region}:{account}:"
    buses = [each.bus or "default" for each in destinations if each.to == "eventbridge"]
    topics = [each.topic for each in destinations if each.to == "sns"]
    secrets = [name for each in destinations for name in each.secrets]
    return {
        "TellBuses": _arns_of(buses, here.format("events") + "event-bus/{}"),
        "TellTopics": _arns_of(topics, "{}"),
        "TellSecrets": _arns_of(secrets, here.format("secretsmanager") + "secret:{}-" + ANY_SIX),
    }


def _arns_of(names: Iterable[str], form: str) -> str:
    found = (name if name.startswith("arn:") else form.format(name) for name in names)
    return ",".join(dict.fromkeys(found))


# --- Glue's resources ------------------------------------------------------------------------------------------------


def glue_resources(views: Iterable[GlueView], region: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """ARNs of the catalogs, databases and views for the role's policy, and a note where they name more than that.

    https://docs.aws.amazon.com/glue/latest/dg/glue-specifying-resource-arns.html
    """
    found = list(views)
    for tables, note in (
        (_table_parts, ()),
        (_any_table_parts, ("the role may refresh every view of the databases: the ARNs of each do not fit",)),
    ):
        arns = tuple(dict.fromkeys(arn for view in found for arn in _arns(view, region, tables(view))))
        if len(",".join(arns)) <= LONGEST_PARAMETER:
            return arns, note
    accounts = sorted({_account(view) for view in found})
    arns = tuple(f"{_prefix(account, region)}:{kind}" for account in accounts for kind in ("catalog*", "*/*"))
    return arns, ("the role may refresh every view of the account: the ARNs of each do not fit",)


def source_resources(configuration: Configuration, region: str) -> tuple[str, ...]:
    """ARNs whose metadata the function looks at: all tables of the views' databases, and tables that `on` names.

    A view's sources in other databases are only known by looking at the view; who has such adds them to the parameter.
    """
    places = [target.resource for target in configuration.targets if isinstance(target.resource, GlueView)]
    named = [
        GlueView(catalog_of(source, view), source.database, source.table)
        for target in configuration.targets
        for source in target.on
        if isinstance(source, IcebergChanged | GlueTableChanged) and isinstance(view := target.resource, GlueView)
    ]
    found = dict.fromkeys(arn for view in (*places, *named) for arn in _arns(view, region, _any_table_parts(view)))
    found |= dict.fromkeys(arn for view in (*places, *named) for arn in _bucket_arns(view, region))
    if len(",".join(found)) <= LONGEST_PARAMETER:
        return tuple(found)
    accounts = sorted({_account(view) for view in (*places, *named)})
    return tuple(f"{_prefix(account, region)}:{kind}" for account in accounts for kind in ("catalog*", "*/*"))


def _bucket_arns(view: GlueView, region: str) -> list[str]:
    """ARNs of the table bucket that a nested catalog stands for, and of its tables; none for any other catalog."""
    account, _, nested = view.catalog_id.partition(":")
    catalog, _, bucket = nested.partition("/")
    if catalog != "s3tablescatalog" or not bucket:
        return []
    arn = f"arn:{_partition(region)}:s3tables:{region}:{account}:bucket/{bucket}"
    return [arn, f"{arn}/table/*"]


def _arns(view: GlueView, region: str, tables: Iterable[str]) -> list[str]:
    """Of each name both the spelling of the file and Glue's, which is lower case: which one IAM sees, nobody says."""
    catalog = view.catalog_id.partition(":")[2]
    levels = catalog.split("/") if catalog else []
    catalogs = ["catalog", *("/".join(["catalog", *levels[:depth]]) for depth in range(1, len(levels) + 1))]
    databases = ["/".join(["database", *levels, _literal(name)]) for name in _spellings(view.database)]
    prefix = _prefix(_account(view), region)
    return [f"{prefix}:{part}" for part in (*catalogs, *databases, *("/".join(["table", *levels, t]) for t in tables))]


def _table_parts(view: GlueView) -> list[str]:
    """Database and table as an ARN has them: as the file has them, and in lower case, as Glue stores names."""
    names = zip(_spellings(view.database), _spellings(view.table), strict=True)
    return list(dict.fromkeys(f"{_literal(database)}/{_literal(table)}" for database, table in names))


def _any_table_parts(view: GlueView) -> list[str]:
    return list(dict.fromkeys(f"{_literal(database)}/*" for database in _spellings(view.database)))


def _spellings(name: str) -> tuple[str, str]:
    """A name as the file has it, and as Glue stores it, which is in lower case."""
    return name, name.lower()


def _account(view: GlueView) -> str:
    """The account of a catalog's id: what stands before the colon of an S3 Tables catalog, or all of it."""
    return view.catalog_id.partition(":")[0]


def _prefix(account: str, region: str) -> str:
    return f"arn:{_partition(region)}:glue:{region}:{account}"


@cache
def _partition(region: str) -> str:
    """Ask the SDK's own list, which needs no profile; one that AWS_PROFILE names may not be there."""
    session = Session(session_vars={"profile": (None, None, None, None)})
    return str(session.get_partition_for_region(region))


def _literal(name: str) -> str:
    """A name within an ARN of a policy, where `*`, `?` and `$` are special; what a parameter cannot carry is any one.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars
    """
    return "".join(map(_literal_character, name))


def _literal_character(character: str) -> str:
    if character in "*?$":
        return f"${{{character}}}"
    carried = "!" <= character <= "~" and character not in "\"'\\,"
    return character if carried else "?"
