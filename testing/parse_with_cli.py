"""Parses command lines of gcloud and bq with the parsers of an installed Cloud SDK; runs nothing.

`PYTHON parse_with_cli.py SDK <lines.json`, with the SDK's own Python and the lines as lists of
words. Prints what is wrong with each line, as a JSON list of texts; an empty one is nothing.
"""

import contextlib
import importlib
import io
import json
import sys
from typing import Any, List  # noqa: UP035  # the SDK's Python may be older than ours


def of_gcloud(parser: Any, words: List[str]) -> str:  # noqa: UP006
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args(words[1:])
    except SystemExit:
        return said.getvalue() or "refused"
    return ""


def of_bq(kinds: Any, words: List[str]) -> str:  # noqa: UP006
    flags = importlib.import_module("absl.flags")
    flags.FLAGS.set_gnu_getopt(False)
    flags.FLAGS.unparse_flags()
    try:
        name, *rest = flags.FLAGS(words)[1:]
        command = kinds[name](name, flags.FlagValues())
        given = command._command_flags([name, *rest])[1:]
    except (flags.Error, KeyError) as error:
        return str(error)
    is_fit = command._min_args <= len(given) <= command._max_args
    return "" if is_fit else f"{len(given)} arguments: {given}"


def main() -> None:
    sdk, lines = sys.argv[1], json.load(sys.stdin)
    rooms = ("platform/bq", "platform/bq/third_party", "lib", "lib/third_party")
    sys.path[:0] = [f"{sdk}/{room}" for room in rooms]
    cli: Any = importlib.import_module("googlecloudsdk.gcloud_main").CreateCLI([])
    importlib.import_module("bq")  # defines the global flags
    kinds = {
        "ls": importlib.import_module("frontend.command_list").ListCmd,
        "mk": importlib.import_module("frontend.command_make").Make,
        "query": importlib.import_module("frontend.command_query").Query,
        "show": importlib.import_module("frontend.command_show").Show,
        "update": importlib.import_module("frontend.command_update").Update,
    }
    parser = cli._CLI__parser  # what its Execute asks before it runs anything
    found = [
        of_bq(kinds, words) if words[0] == "bq" else of_gcloud(parser, words) for words in lines
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main()
