"""Print completion scripts for shells, install them, and answer their requests.

The protocol: a script sets the variable `_ARTGEN_COMPLETE` to `complete_SHELL`, and `_ARTGEN_LINE` to the command line
up to the cursor, whose first word is the program. The first line of the answer contains `files` or `folders` if the
shell shall add names of files, and `nospace` if no blank shall follow the candidate. Each other line is a candidate;
for zsh and fish, a tab and a description follow.
"""

import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from artgen.cli.completion.split_line import SplitLine, split_line
from artgen.errors import UsageError

VARIABLE = "_ARTGEN_COMPLETE"
MAX_SECONDS = 6
"""Time after which a search for candidates ends, for example on a slow network drive."""
MAX_HELP_CHARS = 70

BASH_SCRIPT = r"""
_artgen_completion() {
    local mode=''
    COMPREPLY=()
    {
        IFS= read -r mode
        mapfile -t COMPREPLY
    } < <(_ARTGEN_COMPLETE=complete_bash _ARTGEN_LINE="${COMP_LINE:0:COMP_POINT}" \
        _ARTGEN_BREAKS="$COMP_WORDBREAKS" "${1/#\~/$HOME}" 2>/dev/null)
    case " $mode " in *' nospace '*) compopt -o nospace ;; esac
    case " $mode " in
        *' files '*) compopt -o default ;;
        *' folders '*) compopt -o dirnames ;;
    esac
}
complete -F _artgen_completion artgen
"""

ZSH_SCRIPT = r"""
#compdef artgen

_artgen_completion() {
    local mode line
    local -a lines attached spaced
    lines=("${(@f)$(_ARTGEN_COMPLETE=complete_zsh \
        _ARTGEN_LINE="${(j: :)words[1,CURRENT-1]} $QIPREFIX$PREFIX" "${(Q)words[1]}" 2>/dev/null)}")
    mode=" $lines[1] "
    shift lines
    for line in $lines; do
        if [[ $line == [^$'\t']#[=/.]$'\t'* ]]; then
            attached+=("${line/$'\t'/:}")
        else
            spaced+=("${line/$'\t'/:}")
        fi
    done
    [[ $mode == *' option '* ]] && compset -P 1 '*='
    (( $#spaced )) && _describe -V -t values value spaced
    (( $#attached )) && _describe -V -t values value attached -S ''
    [[ $mode == *' files '* ]] && _files
    [[ $mode == *' folders '* ]] && _files -/
    return 0
}

if [[ $funcstack[1] == _artgen ]]; then
    _artgen_completion "$@"
else
    compdef _artgen_completion artgen
fi
"""

FISH_SCRIPT = r"""
function __artgen_complete
    set -l program (commandline -po)[1]
    set -l token (commandline -ct)
    set -l line (commandline -cp | string collect)
    set -l lines (env _ARTGEN_COMPLETE=complete_fish _ARTGEN_LINE="$line" $program 2>/dev/null)
    set -l mode " $lines[1] "
    set -e lines[1]
    set -l option ''
    if string match -q '* option *' -- $mode
        set option (string match -r '^[^=]*=' -- $token)
    end
    for line in $lines
        printf '%s%s\n' $option $line
    end
    set -l value (string sub -s (math (string length -- "$option") + 1) -- $token)
    if string match -q '* files *' -- $mode
        __fish_complete_path $value | string replace -r '^' -- $option
    else if string match -q '* folders *' -- $mode
        __fish_complete_directories $value | string replace -r '^' -- $option
    end
end
complete --command artgen --no-files --keep-order --arguments '(__artgen_complete)'
"""

SCRIPTS = {"bash": BASH_SCRIPT, "zsh": ZSH_SCRIPT, "fish": FISH_SCRIPT}
"""Scripts of the shells in which values are completed. In PowerShell, Typer completes commands and options."""


def show_or_install(arguments: Sequence[str]) -> None:
    """Print or install the script of a shell: `--show-completion [SHELL]`, `--install-completion [SHELL]`.

    Raises:
        UsageError: the shell is unknown or not supported.
        OSError: a file of the shell cannot be written.
    """
    from typer import completion as typer_completion

    from artgen.cli.console import print_note, print_text

    completion: Any = typer_completion  # these functions are not public
    shell = arguments[1] if len(arguments) > 1 else completion._get_shell_name() or ""
    powershells = ("powershell", "pwsh")
    if shell not in (*SCRIPTS, *powershells):
        raise UsageError(
            f"Cannot complete in the shell '{shell}': it is not supported." if shell else "Cannot detect the shell.",
            f"artgen {arguments[0]} {'|'.join([*SCRIPTS, *powershells])}",
        )
    if arguments[0] == "--show-completion":
        script = SCRIPTS.get(shell) or completion.get_completion_script(
            prog_name="artgen", complete_var=VARIABLE, shell=shell
        )
        print_text(script.strip())
        return
    if shell == "fish":  # Typer ignores XDG_CONFIG_HOME
        path = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "fish/completions/artgen.fish"
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        path = completion.install(shell=shell, prog_name="artgen", complete_var=VARIABLE)[1]
    if shell in SCRIPTS:  # the script of Typer does not complete values
        path.write_text(SCRIPTS[shell].lstrip(), encoding="utf-8")
    print_note(f"Installed the completion for {shell} in '{path}'. Start a new terminal to use it.")


def answer(instruction: str) -> bool:
    """Print the answer for a script, and return True; return False if `instruction` is not of one of `SCRIPTS`."""
    shell = instruction.removeprefix("complete_")
    if shell == instruction or shell not in SCRIPTS:
        return False
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGALRM, _end_search)
        signal.setitimer(signal.ITIMER_REAL, MAX_SECONDS, 1)
    line = os.environ.get("_ARTGEN_LINE", "")
    try:
        text = _answer_text(shell, split_line(line, os.environ.get("_ARTGEN_BREAKS", "") if shell == "bash" else ""))
    except Exception:
        return True
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()
    return True


def _end_search(*_: Any) -> None:
    """End a search. `values.candidates` has the candidates that were found before, and suppresses the error."""
    raise TimeoutError


def _answer_text(shell: str, line: SplitLine) -> str:
    from artgen.cli.completion.command_line import complete

    completion = complete(line.words[1:], line.current)
    typed = line.current.removeprefix(completion.option)
    # Candidates with another case replace the typed text, so they are only useful if no other candidate exists.
    found = [each for each in completion.candidates if each.text.startswith(typed)] or list(completion.candidates)
    files = completion.files
    modes = [files] if files else []
    if completion.option:
        modes.append("option")
    if shell != "bash":
        escape = _zsh_text if shell == "zsh" else str
        lines = [f"{escape(each.text)}\t{_shortened(each.help)}" for each in found]
        return "\n".join([" ".join(modes), *lines]) + "\n"
    texts = [completion.option + each.text for each in found]
    if texts and files:
        texts += [completion.option + name for name in _file_names(typed, folders=files == "folders")]
    # bash replaces the typed text by the common begin of all candidates, which must not be shorter.
    texts = [text for text in texts if text.startswith(texts[0][: len(line.current)])]
    if len(texts) == 1 and texts[0].endswith(("=", "/", ".")):
        modes.append("nospace")
    quoted = (_bash_text(text[len(line.fixed) :], line.quote) for text in dict.fromkeys(texts))
    return "\n".join([" ".join(modes), *(text for text in quoted if text is not None)]) + "\n"


def _file_names(typed: str, *, folders: bool) -> list[str]:
    """Return the paths that begin with `typed`; the name of a folder ends with a slash."""
    parent, slash, name = typed.rpartition("/")
    found = []
    try:
        with os.scandir(os.path.expanduser(parent + slash) or ".") as entries:  # noqa: PTH111
            for entry in entries:
                is_hidden = entry.name.startswith(".") and not name.startswith(".")
                if entry.name.startswith(name) and not is_hidden and (entry.is_dir() or not folders):
                    found.append(f"{parent}{slash}{entry.name}{'/' if entry.is_dir() else ''}")
    except OSError:
        return []
    return sorted(each for each in found if each.isprintable())


def _bash_text(text: str, quote: str) -> str | None:
    """Return a text for the command line of bash; None if single quotation marks cannot contain it."""
    if quote == "'":
        return None if "'" in text else text
    if quote:
        return re.sub(r'(["\\$`])', r"\\\1", text)
    return re.sub(r"([^\w.,:=+@%/~-])", r"\\\1", text)


def _zsh_text(text: str) -> str:
    """Return a text with the escapes of `_describe`."""
    return re.sub(r"([\\:])", r"\\\1", text)


def _shortened(text: str) -> str:
    line = "".join(letter for letter in " ".join(text.split()) if letter.isprintable())
    return line if len(line) <= MAX_HELP_CHARS else f"{line[:MAX_HELP_CHARS]}..."
