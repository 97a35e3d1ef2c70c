"""The `unstale` command: arguments in, the one function that does it, an exit code out.

Exit codes: 0 done; 1 the thing asked about is not well (late, held, invalid, dead letters); 2 wrong usage; 130 ended by
Ctrl-C. Scripts go by them, so they do not change.

    argv ──> parser ──> _COMMANDS[name] ──> local.cli.<name>: reads, asks, prints
                                                  |
                          UsageError, NotWellError, ConfigurationError ──> standard error, exit code

A command raises what went wrong as one of these three, with a text that names the place and the cure, and never ends
the process itself. Everything else that is raised is a bug of ours, and is shown as such: with its traceback.

To add a command: a module with its function here beside, `_name` below, a line in `_COMMANDS`, its arguments in one of
the `_add_...` functions, and its line in docs/commands.md, which a test asks for.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

from msgspec import structs

from local.cli import stack
from local.cli.console import Answers, print_json
from local.cli.errors import MisusedError, NotWellError, UsageError
from local.cli.samples import KINDS as SAMPLES
from shared.config.load import ConfigurationError
from shared.config.schema import duration_of
from shared.targets import Cloud
from shared.version import VERSION

DONE, NOT_WELL, WRONG_USAGE = 0, 1, 2
"""The exit codes that the head of this file explains. Cron, CI and `unstale status && ...` go by them."""
INTERRUPTED = 128 + signal.SIGINT
"""The exit code by which shells know that Ctrl-C ended a command: 128 and the number of the signal, 130."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; nothing that a user can cause ends in a traceback.

    Whether JSON is wanted is looked up in the words themselves, because a mistake in the arguments leaves nothing
    parsed, and a script that said `--json` wants to read that, too.
    """
    as_json = "--json" in (sys.argv[1:] if argv is None else argv)
    answered = Answers.printed
    try:
        arguments = parser().parse_args(argv)
        state = getattr(arguments, "state", None) or ""
        with stack.name_stacks(getattr(arguments, "stack", ())), stack.state(state):
            _COMMANDS[arguments.command](arguments)
    except MisusedError as misuse:
        sys.stderr.write(misuse.usage)
        _complain(misuse, WRONG_USAGE, as_json=as_json)
        raise SystemExit(WRONG_USAGE) from misuse
    except (NotWellError, ConfigurationError) as failure:
        _complain(failure, NOT_WELL, as_json=as_json and Answers.printed == answered)
        return NOT_WELL
    except UsageError as failure:
        _complain(failure, WRONG_USAGE, as_json=as_json and Answers.printed == answered)
        return WRONG_USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `unstale status | head`: nobody reads on, and nobody is to be told
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


def _complain(failure: Exception, code: int, *, as_json: bool) -> None:
    """Say on standard error why the command ends as it does, after all that was printed before.

    With `as_json`, a command that has printed no JSON yet prints an object with `error`, of one shape for all. One that
    has printed its answer prints no second object: a reader of standard output takes one.
    """
    if as_json:
        problems = [structs.asdict(each) for each in getattr(failure, "problems", ())]
        print_json({"error": {"message": str(failure), "exit_code": code, "problems": problems}})
    if str(failure):
        sys.stdout.flush()
        print(f"unstale: {failure}", file=sys.stderr)


# --- Commands: each imports what it needs, so that `check` does not wait for the SDKs of two clouds ------------------
# Each takes the parsed arguments apart and calls one function with plain values, so that tests and other commands can
# call the same function without a command line.


def _check(arguments: argparse.Namespace) -> None:
    """`unstale check`, with `--schema` or `--live` for what they stand for."""
    from local.cli import check

    if arguments.schema:
        check.print_schema()
    elif arguments.live:
        check.check_live(_config(arguments), as_json=arguments.json, only=_cloud(arguments))
    elif arguments.cloud:
        raise UsageError("check: --cloud goes with --live")
    else:
        check.check(_config(arguments), as_json=arguments.json, strict=arguments.strict)


def _plan(arguments: argparse.Namespace) -> None:
    """`unstale plan`: of a file of events, a sample to begin with, or a while (`--since`)."""
    from local.cli import plan

    if arguments.since is not None:
        _since(arguments)
        return
    if bool(arguments.event) == bool(arguments.sample):
        message = "plan: name one file of events, or say --sample KIND"
        raise UsageError(message)
    if arguments.sample:
        plan.print_sample(_config(arguments), arguments.sample)
    else:
        plan.plan(_config(arguments), arguments.event, as_json=arguments.json)


def _since(arguments: argparse.Namespace) -> None:
    """`unstale plan --since`."""
    from local.cli import since

    assumed = since.Assumed(arguments.run, arguments.dpus)
    since.since(_config(arguments), arguments.event, arguments.since, assumed, as_json=arguments.json)


def _init(arguments: argparse.Namespace) -> None:
    """`unstale init`, with names of databases and workspaces, or with questions."""
    from local.cli import init

    init.init(_config(arguments), arguments.glue_database, arguments.fabric_workspace)


def _demo(arguments: argparse.Namespace) -> None:
    """`unstale demo`: the story to its verdict; with `--keep` without a story; `demo do` in a second terminal."""
    from local.demo import demo

    if arguments.do:
        _demo_do(arguments.do)
    elif arguments.keep:
        from local.demo import keep

        keep.keep()
    else:
        demo.run(naive=arguments.naive, as_json=arguments.json)


def _demo_do(words: Sequence[str]) -> None:
    """`unstale demo do`, in a second terminal.

    argparse cannot say that words come after `do` alone, so whoever leaves it out is told what was meant.
    """
    from local.demo import keep

    if words[0] != "do":
        raise UsageError(f"demo {words[0]}: did you mean `unstale demo do {words[0]}`?")
    keep.do(words[1:], os.environ)


def _run(arguments: argparse.Namespace) -> None:
    """`unstale run`, until told to stop, or once."""
    from local.cli import run

    run.run(_config(arguments), _state(arguments), once=arguments.once)


def _page(arguments: argparse.Namespace) -> None:
    """`unstale page`, written or served."""
    from local.cli import page

    if arguments.serve:
        page.serve(_config(arguments), arguments.port)
    else:
        page.write(_config(arguments), arguments.into)


def _status(arguments: argparse.Namespace) -> None:
    """`unstale status`, once or again and again; of one cloud alone with `--cloud`."""
    from local.cli import status

    if arguments.watch:
        status.watch(_config(arguments), as_json=arguments.json, seconds=arguments.watch, only=_cloud(arguments))
    else:
        status.status(_config(arguments), as_json=arguments.json, only=_cloud(arguments))


def _completion(arguments: argparse.Namespace) -> None:
    """`unstale completion`: the script that a shell reads, made of the parser itself by a library."""
    import shtab

    print(shtab.complete(parser(), shell=arguments.shell))


def _explain(arguments: argparse.Namespace) -> None:
    """`unstale explain`: of one target, at length."""
    from local.cli import explain

    explain.explain(_config(arguments), arguments.target, as_json=arguments.json)


def _history(arguments: argparse.Namespace) -> None:
    """`unstale history`: the last twenty lines, or as many as `--limit` says."""
    from local.cli import history

    history.history(_config(arguments), arguments.target, limit=arguments.limit, as_json=arguments.json)


def _refresh(arguments: argparse.Namespace) -> None:
    """`unstale refresh`; with `--wait` it ends as the run ends."""
    from local.cli import refresh

    refresh.refresh(_config(arguments), arguments.target, full=arguments.full, wait=arguments.wait)


def _pause(arguments: argparse.Namespace) -> None:
    """`unstale pause`."""
    from local.cli import pause

    pause.pause(_config(arguments), _one_or_all(arguments))


def _resume(arguments: argparse.Namespace) -> None:
    """`unstale resume`."""
    from local.cli import pause

    pause.resume(_config(arguments), _one_or_all(arguments))


def _redrive(arguments: argparse.Namespace) -> None:
    """`unstale redrive`."""
    from local.cli import redrive

    redrive.run(_config(arguments), dry_run=arguments.dry_run, as_json=arguments.json)


def _login(arguments: argparse.Namespace) -> None:
    """`unstale login`, with `--show` or `--remove` for what they stand for."""
    from local.cli import login

    if arguments.local:
        _login_local(arguments)
    elif arguments.show:
        login.show(_config(arguments), as_json=arguments.json)
    elif arguments.remove:
        login.remove(_config(arguments))
    else:
        login.run(_config(arguments), browser=arguments.browser)


def _login_local(arguments: argparse.Namespace) -> None:
    """`unstale login --local`, for `unstale run` on this machine."""
    from local.cli import login_local

    state = _state(arguments)
    if arguments.show:
        login_local.show(state, as_json=arguments.json)
    elif arguments.remove:
        login_local.remove(state)
    else:
        login_local.run(_config(arguments), state, browser=arguments.browser)


def _infra(arguments: argparse.Namespace) -> None:
    """`unstale infra aws` and `unstale infra azure`."""
    from local.cli import infra

    options = {"as_json": arguments.json, "write": arguments.write, "environment": arguments.environment}
    make = infra.aws if arguments.cloud == "aws" else infra.azure
    make(_config(arguments), **options)


def _package(arguments: argparse.Namespace) -> None:
    """`unstale package aws` and `unstale package azure`."""
    from local.cli import package

    package.package(arguments.cloud, _config(arguments), arguments.environment, arguments.into)


def _deploy(arguments: argparse.Namespace) -> None:
    """`unstale deploy`, with `--dry-run` for its steps alone."""
    from local.cli import deploy

    asked = deploy.Asked(_config(arguments), arguments.environment, arguments.location)
    deploy.deploy(Cloud(arguments.cloud), asked, dry_run=arguments.dry_run)


_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "check": _check,
    "plan": _plan,
    "init": _init,
    "demo": _demo,
    "completion": _completion,
    "run": _run,
    "page": _page,
    "status": _status,
    "explain": _explain,
    "history": _history,
    "refresh": _refresh,
    "pause": _pause,
    "resume": _resume,
    "redrive": _redrive,
    "infra": _infra,
    "package": _package,
    "deploy": _deploy,
    "login": _login,
}
"""The function of each command, by the name that is typed; `parser` below knows the same names."""


def _config(arguments: argparse.Namespace) -> Path:
    """The configuration's file: the option, else the variable, else the usual name in this folder.

    A file elsewhere is never searched for: which one counts must be plain to see from the folder one stands in.
    """
    return Path(arguments.config or os.environ.get("UNSTALE_CONFIG") or "unstale.toml")


def _state(arguments: argparse.Namespace) -> Path:
    """The file with the state of `unstale run`: the option, else the variable, else beside the configuration.

    Beside the file, and not in the folder one stands in: the state belongs to a configuration.
    """
    return Path(arguments.state or os.environ.get("UNSTALE_STATE") or _config(arguments).with_name("unstale.db"))


def _cloud(arguments: argparse.Namespace) -> Cloud | None:
    """The cloud that `--cloud` names, or None for all that have targets."""
    return Cloud(arguments.cloud) if arguments.cloud else None


def _one_or_all(arguments: argparse.Namespace) -> str | None:
    """The target's name, or None for all. Neither and both are refused: `pause` alone must not stop everything."""
    if bool(arguments.target) == arguments.all:
        message = f"{arguments.command}: name one target, or say --all"
        raise UsageError(message)
    target: str | None = arguments.target
    return target


# --- Arguments -------------------------------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are exceptions, so that `--json` has JSON for them, too.

    argparse would print usage and end the process with 2. `main` does the same in the end, after it had its say.
    """

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print before it ended the process."""
        raise MisusedError(self.format_usage(), message)


def parser() -> argparse.ArgumentParser:
    """Every command with its options, and what `--help` says of each.

    `unstale completion` reads this, too, so shells complete exactly what is parsed.
    """
    parser = _Parser(
        prog="unstale",
        description="Keeps materialized views fresh: is this view fresh, and if not, since when and why?",
        epilog="Exit codes: 0 done, 1 not well (late, held, invalid, dead letters), 2 wrong usage.",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_commands_of_the_file(commands)
    _add_commands_of_a_deployment(commands)
    return parser


def _add_commands_of_the_file(commands: argparse._SubParsersAction[_Parser]) -> None:
    """Commands that need no deployment, in the order in which a newcomer meets them.

    A help text begins in lower case and names what one gets, not what the command does inside: it is the line that
    `unstale --help` shows for the command, and the first sentence of the command's own help.
    """
    init = _command(commands, "init", "write the first unstale.toml, from what is in the cloud; it asks")
    for option, what in (
        ("--glue-database", "its materialized views, with the tables that they read"),
        ("--fabric-workspace", "its lakehouses, by the name of the workspace, with the token of az login"),
    ):
        init.add_argument(option, metavar="NAME", action="append", default=[], help=f"{what}; more than once for more")
    check = _deployment_command(
        commands, "check", "is the configuration good? Names file, line and key of what is not", json=True
    )
    check.add_argument("--schema", action="store_true", help="print the JSON Schema of unstale.toml, for editors")
    check.add_argument("--strict", action="store_true", help="what is doubtful makes it not well, too")
    check.add_argument("--live", action="store_true", help="ask the cloud: is everything there, allowed and connected")
    _add_cloud(check)
    _add_plan(commands)
    demo = _command(commands, "demo", "the whole system on this machine, in less than a minute", json=True)
    demo.add_argument("do", nargs="*", metavar="do WHAT [TARGET]", help="let something happen in a demo that is kept")
    demo.add_argument("--keep", action="store_true", help="leave the clouds and handlers running, to be played with")
    demo.add_argument("--naive", action="store_true", help="the obvious handler instead: one start an event. It loses")
    completion = _command(commands, "completion", "what a shell reads to complete these commands")
    completion.add_argument("shell", choices=["bash", "zsh"])
    run = _command(commands, "run", "keep the targets fresh from this machine, without a deployment")
    _add_state(run)
    run.add_argument("--once", action="store_true", help="do what is due and end, for cron")
    _add_packaging(commands)


def _add_packaging(commands: argparse._SubParsersAction[_Parser]) -> None:
    """Commands that prepare a deployment: both take the same environment, and `package` writes what `infra` prints."""
    infra = _command(commands, "infra", "what the templates take from the configuration", json=True)
    infra.add_argument("cloud", choices=["aws", "azure"])
    infra.add_argument("--write", action="store_true", help="put it where the deployment reads it")
    infra.add_argument("--environment", default="default", help="of infra/<cloud> (default: default)")
    package = _command(commands, "package", "the package for a cloud, and the parameters of its template")
    package.add_argument("cloud", choices=["aws", "azure"])
    package.add_argument("--environment", default="default", help="of infra/<cloud> (default: default)")
    package.add_argument("--into", type=Path, metavar="FOLDER", help="default: build/<cloud>; the zip is beside it")
    deploy = _command(commands, "deploy", "package, deploy, publish and look, each step printed before it runs")
    deploy.add_argument("cloud", choices=["aws", "azure"])
    deploy.add_argument("--environment", default="default", help="of infra/<cloud> (default: default)")
    deploy.add_argument("--location", default="", metavar="REGION", help="Azure: make the resource group there")
    deploy.add_argument("--dry-run", action="store_true", help="only print the steps")
    _add_stack(deploy)


def _add_plan(commands: argparse._SubParsersAction[_Parser]) -> None:
    """The command `plan`, with its two other uses: samples, and a while of events.

    They share a command because they share a question, what would events do, and the reading of files of events.
    """
    plan = _deployment_command(commands, "plan", "what would these events do? Nothing is sent", json=True)
    plan.add_argument(
        "event",
        nargs="?",
        metavar="EVENT.json",
        help="events, alone, in a list or a line each, or as queues and dead letters show them; - reads standard input",
    )
    plan.add_argument("--sample", choices=SAMPLES, help="print an event for the first target that has such a source")
    plan.add_argument(
        "--since",
        type=_duration,
        metavar="24h",
        help="what the events of this while, in a file or a folder, would have started, spared and cost; without "
        "events, what the deployment's history knows",
    )
    plan.add_argument(
        "--run", type=_duration, default="2m", metavar="2m", help="with --since: how long a refresh takes"
    )
    plan.add_argument("--dpus", type=float, default=4, metavar="4", help="with --since: workers of a refresh on Glue")


def _add_commands_of_a_deployment(commands: argparse._SubParsersAction[_Parser]) -> None:
    """Commands that read or write the records of a deployment, which each finds in the same way (`local.cli.stack`)."""
    status = _deployment_command(commands, "status", "is every view fresh, and if not, since when and why", json=True)
    status.add_argument(
        "--watch",
        type=_positive,
        nargs="?",
        const=10,
        metavar="SECONDS",
        help="again and again, until Ctrl-C; 10 seconds apart where no number is given",
    )
    _add_cloud(status)
    explain = _deployment_command(
        commands, "explain", "why a target stands as it does, and what you can do now", json=True
    )
    explain.add_argument("target", metavar="TARGET")
    history = _deployment_command(
        commands, "history", "the run that goes on, and those that ended, newest first", json=True
    )
    history.add_argument("target", metavar="TARGET")
    history.add_argument("--limit", type=_positive, default=20, help="how many lines (default: 20)")
    page = _deployment_command(commands, "page", "how fresh every view is and was, as one HTML file")
    page.add_argument("--into", type=Path, default=Path("unstale.html"), metavar="FILE", help="default: unstale.html")
    page.add_argument("--serve", action="store_true", help="show it on loopback instead, renewed every few seconds")
    page.add_argument("--port", type=int, default=0, help="for --serve (default: any that is free)")
    refresh = _deployment_command(
        commands, "refresh", "ask for a refresh; a blocked or cancelled target is tried at once"
    )
    refresh.add_argument("target", metavar="TARGET")
    refresh.add_argument("--full", action="store_true", help="a full refresh, not an incremental one")
    refresh.add_argument("--wait", action="store_true", help="follow it to its end, and exit as it ended")
    for name, what in (("pause", "start nothing, forget nothing"), ("resume", "start again; at most one run a target")):
        command = _deployment_command(commands, name, what)
        command.add_argument("target", metavar="TARGET", nargs="?")
        command.add_argument("--all", action="store_true", help="all targets of the deployment")
    redrive = _deployment_command(commands, "redrive", "bring dead letters back to where they came from", json=True)
    redrive.add_argument("--dry-run", action="store_true", help="only show how many there are, since when and why")
    _add_login(commands)


def _add_login(commands: argparse._SubParsersAction[_Parser]) -> None:
    """The command `login`, which shows and ends a sign-in, too."""
    login = _deployment_command(commands, "login", "sign a user in, for whom the function then calls Fabric")
    login.add_argument("--local", action="store_true", help="for `unstale run` on this machine, not for a deployment")
    how = login.add_mutually_exclusive_group()
    how.add_argument("--browser", action="store_true", help="by a browser on this machine instead of a device code")
    how.add_argument("--show", action="store_true", help="who is signed in, since when, until when it lasts unused")
    how.add_argument("--remove", action="store_true", help="sign out")
    login.add_argument("--json", action="store_true", help="with --show: one JSON object")


def _duration(text: str) -> timedelta:
    """A duration as the configuration has them. argparse words what this raises as wrong usage."""
    if not re.fullmatch("[0-9]{1,8}[smhd]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration in whole s, m, h or d, such as 24h")
    return duration_of(text)


def _positive(text: str) -> int:
    """A number of lines: at least one. argparse words what this raises as wrong usage."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _deployment_command(
    commands: argparse._SubParsersAction[_Parser], name: str, what: str, *, json: bool = False
) -> _Parser:
    """A command that asks a deployment, which may have a name."""
    parser = _command(commands, name, what, json=json)
    _add_stack(parser)
    _add_state(parser)
    return parser


def _add_stack(parser: _Parser) -> None:
    """The option for the name of a deployment."""
    parser.add_argument(
        "--stack",
        metavar="NAME",
        action="append",
        default=[],
        help="the deployment: a CloudFormation stack, or subscription/group/deployment on Azure; once for each cloud "
        "(default: $UNSTALE_STACK, the variables of this shell, [deployment] stack)",
    )


def _add_cloud(parser: _Parser) -> None:
    """The option for one cloud of a configuration that has targets on both."""
    parser.add_argument("--cloud", choices=["aws", "azure"], help="only this one; default: all that have targets")


def _add_state(parser: _Parser) -> None:
    """The option for the state of `unstale run`."""
    parser.add_argument("--state", metavar="FILE", help="of `unstale run` on this machine; default: $UNSTALE_STATE")


def _command(commands: argparse._SubParsersAction[_Parser], name: str, what: str, *, json: bool = False) -> _Parser:
    """A command with the options that all have."""
    parser = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
    parser.add_argument("--config", metavar="FILE", help="default: $UNSTALE_CONFIG, or unstale.toml here")
    if json:
        parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    return parser
