"""What a shell completes."""

import shutil
import subprocess

import pytest

from nfref.cli import main, parser
from nfref.tables.fitting.flow_kinds import FLOWS


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    "line, expected",
    [
        (("nfref", "sc"), {"score"}),
        (("nfref", "score", "--da"), {"--dask"}),
        (("nfref", "fit", "wine", "--flow", ""), {"auto", *FLOWS}),
        (("nfref", "completion", ""), {"bash", "zsh", "fish"}),
        (("nfref", "score", "mod"), {"model.npz"}),
    ],
)
def test_bash_completes(tmp_path, capsys, line, expected):
    (tmp_path / "model.npz").touch()
    assert main(["completion", "bash"]) == 0
    words = " ".join(f"'{word}'" for word in line)
    code = (
        capsys.readouterr().out + f"\nCOMP_WORDS=({words}); COMP_CWORD={len(line) - 1}; _nfref"
        '; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert set(done.stdout.split()) == expected and done.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_option_of_every_command_is_there(capsys, shell):
    assert main(["completion", shell]) == 0
    text = capsys.readouterr().out
    commands = next(
        action
        for action in parser()._actions
        if action.dest != "version"
        and hasattr(action, "choices")
        and isinstance(action.choices, dict)
    )
    assert {"fit", "score", "info", "completion"} <= set(commands.choices)
    for name, command in commands.choices.items():
        assert name in text
        for action in command._actions:
            for option in action.option_strings:
                shown = f"-l {option[2:]}" if option.startswith("--") else f"-s {option[1:]}"
                assert (shown if shell == "fish" else option) in text


def test_another_shell_is_refused(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
