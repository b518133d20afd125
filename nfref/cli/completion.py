"""``nfref completion``: what a shell has to know to complete commands and options."""

from dataclasses import dataclass

from nfref.cli.arguments import Options, positional

SHELLS = ("bash", "zsh", "fish")

DESCRIPTION = """\
Print a script that completes commands, options and their choices, and files elsewhere."""

EXAMPLE = """\
example:
  source <(nfref completion bash)                          # or in ~/.bashrc; zsh alike
  nfref completion fish > ~/.config/fish/completions/nfref.fish"""


def add_commands(commands):
    """Add ``completion`` to the command line."""
    commands.add(
        "completion",
        lambda asked: print(script(asked.shell, commands.choices)),
        Asked,
        description=DESCRIPTION,
        example=EXAMPLE,
    )


@dataclass(frozen=True)
class Asked(Options):
    """Who completes."""

    shell: str = positional("SHELL", ", ".join(SHELLS), choices=SHELLS)


def words(parser):
    """(options, option -> choices, choices of arguments without option) of a command."""
    options, choices, rest = [], {}, []
    for action in parser._actions:
        options += action.option_strings
        for option in action.option_strings if action.choices else ():
            choices[option] = [str(choice) for choice in action.choices]
        if action.choices and not action.option_strings:
            rest += [str(choice) for choice in action.choices]
    return options, choices, rest


def script(shell, parsers):
    """The script for a shell.

    Parameters
    ----------
    shell : {"bash", "zsh", "fish"}
    parsers : dict
        name -> parser of every command.

    Returns
    -------
    str
    """
    return _fish(parsers) if shell == "fish" else _bash(parsers, shell == "zsh")


def _bash(parsers, zsh):
    lines = ["autoload -U +X bashcompinit && bashcompinit"] if zsh else []
    lines += [
        "_nfref() {",
        '    local current="${COMP_WORDS[COMP_CWORD]}" options="" values=""',
        '    local previous="${COMP_WORDS[COMP_CWORD-1]}"',
        "    if (( COMP_CWORD == 1 )); then",
        f'        options="--help --version" values="{" ".join(parsers)}"',
        "    else",
        '        case "${COMP_WORDS[1]}" in',
    ]
    for name, parser in parsers.items():
        options, choices, rest = words(parser)
        lines += [
            f"        {name})",
            f'            options="{" ".join(options)}"',
            f'            values="{" ".join(rest)}"',
        ]
        if choices:
            lines.append('            case "$previous" in')
            lines += [
                f'                {option}) options="" values="{" ".join(found)}" ;;'
                for option, found in choices.items()
            ]
            lines.append("            esac")
        lines.append("            ;;")
    lines += [
        "        esac",
        "    fi",
        '    case "$current" in',
        '        -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;',
        '        *) COMPREPLY=($(compgen -W "$values" -- "$current"))',
        '           [ -n "$values" ] || COMPREPLY=($(compgen -f -- "$current")) ;;',
        "    esac",
        "}",
        "complete -o filenames -F _nfref nfref",
    ]
    return "\n".join(lines)


def _fish(parsers):
    lines = [f"complete -c nfref -n __fish_use_subcommand -f -a '{' '.join(parsers)}'"]
    for name, parser in parsers.items():
        where = f"complete -c nfref -n '__fish_seen_subcommand_from {name}'"
        options, choices, rest = words(parser)
        for option in options:
            flag = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
            takes = f" -x -a '{' '.join(choices[option])}'" if option in choices else ""
            lines.append(f"{where} {flag}{takes}")
        if rest:
            lines.append(f"{where} -f -a '{' '.join(rest)}'")
    return "\n".join(lines)
