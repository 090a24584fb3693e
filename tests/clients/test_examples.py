"""The examples of docs/clients.md run as they stand there, twice: the second run gives the same and costs nothing.

Only the address of the gateway (in the last part, of the provider) is another one; keys come from the environment.
"""

from __future__ import annotations

import json
import re

import pytest

from tests.clients.driving import JS, ROOT, Place, command, python
from tests.support import patience

PAGE = (ROOT / "docs" / "clients.md").read_text()
GATEWAY = "http://127.0.0.1:4141"
PROVIDER = "https://openrouter.ai"
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE))
ENVIRONMENTS = {"LiteLLM": "litellm", "Instructor": "instructor"}
BETWEEN = "----- again -----"


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL)


PYTHON = [(name, code) for name in SECTIONS for code in blocks(name, "python") if GATEWAY in code]
IN_PROCESS = [code for name in SECTIONS for code in blocks(name, "python") if PROVIDER in code]
SCRIPTS = [(name, code) for name in SECTIONS for code in blocks(name, "js")]


def keys(name: str) -> dict[str, str]:
    """An API key of its own for each example: the clients would share one cache otherwise."""
    return dict.fromkeys(("OPENROUTER_API_KEY", "ANTHROPIC_API_KEY"), f"sk-{abs(hash(name))}")


def twice(place: Place, output: str) -> None:
    """Both runs said the same, and something; the provider was asked, and nothing of it twice. What is asked whole and
    then as a stream is asked once."""
    first, second = output.split(BETWEEN)
    assert first.strip() == second.strip() != ""
    bodies = [call.body for call in place.provider.calls]
    asked = {json.dumps({**json.loads(body), "stream": None, "stream_options": None}) for body in bodies}
    assert 0 < len(bodies) == len(asked) <= len(first.strip().splitlines())


def again_in_python(code: str) -> str:
    return (
        f"code = compile({code!r}, 'clients.md', 'exec')\n"
        f"for again in range(2):\n    exec(code, {{'__name__': '__main__'}})\n    again or print({BETWEEN!r})\n"
    )


@pytest.mark.parametrize(("name", "code"), PYTHON, ids=[name for name, _ in PYTHON])
def test_an_example_runs_and_its_second_run_is_a_hit(gateway: Place, name: str, code: str) -> None:
    gateway.provider.reset()
    code = again_in_python(code.replace(GATEWAY, gateway.root))
    twice(gateway, gateway.run(python(ENVIRONMENTS.get(name, "main")), "-c", code, **keys(code)))


@pytest.mark.parametrize("code", IN_PROCESS, ids=["openai", "openrouter", "langchain", "pydantic-ai"])
def test_an_example_without_a_gateway_runs_and_its_second_run_is_a_hit(in_process: Place, code: str) -> None:
    in_process.provider.reset()
    code = patience.CODE + again_in_python(code.replace(PROVIDER, in_process.root))
    twice(in_process, in_process.run(python("main"), "-c", code))


@pytest.mark.parametrize(("name", "code"), SCRIPTS, ids=[name for name, _ in SCRIPTS])
def test_a_javascript_example_runs_and_its_second_run_is_a_hit(gateway: Place, name: str, code: str) -> None:
    gateway.provider.reset()
    code = code.replace(GATEWAY, gateway.root)
    imports = "".join(re.findall(r"^import .*\n", code, re.MULTILINE))
    block = "{\n" + code.replace(imports, "") + "}\n"
    program = f"{imports}{block}console.log({BETWEEN!r});\n{block}"
    twice(gateway, gateway.run("node", "--input-type=module", "--eval", program, cwd=JS, **keys(code)))


def test_the_command_line_tool_runs_and_its_second_run_is_a_hit(gateway: Place) -> None:
    gateway.provider.reset()
    [models], [line] = blocks("llm", "yaml"), blocks("llm", "sh")
    (gateway.home / "extra-openai-models.yaml").write_text(models.replace(GATEWAY, gateway.root))
    path = f"{command('llm').parent}:/usr/bin:/bin"
    for shown in (line, line.replace("--no-stream ", "")):
        gateway.provider.reset()
        script = f"set -e\n{shown}\necho '{BETWEEN}'\n{shown}"
        twice(gateway, gateway.run("sh", "-c", script, PATH=path, LLM_USER_PATH=str(gateway.home), **keys(shown)))


def test_every_client_on_the_page_has_an_example_that_runs() -> None:
    runs = {name for name, _ in PYTHON + SCRIPTS} | {"llm", "Without a gateway", "What is tested"}
    assert runs == SECTIONS.keys()
    assert len(IN_PROCESS) == 4
    for name, code in PYTHON:
        body = [line for line in code.splitlines() if line and not line.startswith(("import ", "from "))]
        assert len(body) <= 5, f"{name}: after its imports an example has at most five lines"


@pytest.mark.parametrize("names", [("OpenAI SDK", "Pydantic AI"), ("LangChain", "OpenRouter SDK")], ids=str)
def test_clients_of_one_key_share_what_they_asked(gateway: Place, names: tuple[str, ...]) -> None:
    gateway.provider.reset()
    said = set()
    for name in names:
        code = blocks(name, "python")[0].replace(GATEWAY, gateway.root)
        said.add(gateway.run(python("main"), "-c", code, **keys("one for all")).splitlines()[0])
    assert len(said) == 1
    whole = [call for call in gateway.provider.calls if not call.json().get("stream")]
    assert len(whole) == 1
