"""ask: a question about media, answered in words or as JSON that fits a schema."""

import json
from typing import Any

from pipeline.engines import Turn
from pipeline.errors import UsageError
from pipeline.job import Kind, MediaInfo, Options
from pipeline.payload import Payload
from pipeline.tasks import Fold, Task, prompt

SYSTEM = "Answer from what is given, and nothing else."


class Ask(Task):
    takes = frozenset({"question", "json_schema", "frames", "video_stream", "audio_stream"})
    line = "a question about sound, pictures, video or text (--question, --schema)"
    about_speech = False

    def check(self, options: Options) -> None:
        if not options.question:
            raise UsageError("ask needs --question TEXT")
        if options.json_schema is not None:
            validator(options.json_schema)

    def kinds(self, media: MediaInfo, options: Options) -> tuple[Kind, ...]:
        del options
        match media.kind:
            case "sound":
                return ("sound",)
            case "video":
                return ("frames",) if media.audio is None else ("scene",)
            case _:
                return (media.kind,)

    def fold(self, media: MediaInfo) -> Fold:
        del media
        return "several"

    def turns(self, payload: Payload, options: Options) -> tuple[Turn, ...]:
        question = options.question or ""
        if payload.kind == "fold":
            question = f"These are answers about one part after the other. Give one answer for all of it: {question}"
        if options.json_schema is not None:
            question += f"\nAnswer with JSON that fits this JSON Schema: {json.dumps(options.json_schema)}"
        return prompt(SYSTEM, payload, question)

    def wrong(self, text: str, options: Options) -> str | None:
        if options.json_schema is None:
            return None
        try:
            answer = json.loads(bare_json(text))
        except ValueError as error:
            return f"That is no JSON ({error}). Answer again, with the JSON alone."
        problem = next(validator(options.json_schema).iter_errors(answer), None)
        return None if problem is None else f"That does not fit the schema: {problem.message}. Answer again."

    def final(self, text: str, options: Options) -> str:
        return text if options.json_schema is None else json.dumps(json.loads(bare_json(text)), ensure_ascii=False)


def bare_json(text: str) -> str:
    """An answer without the code fence that models like to put around JSON."""
    text = text.strip()
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        return text.split("\n", 1)[1].removesuffix("```")
    return text


def validator(schema: dict[str, Any]) -> Any:
    """A validator for a schema. Raises UsageError when the schema itself is wrong or reaches outside of itself."""
    from jsonschema import Draft202012Validator, SchemaError

    if _references(schema):
        raise UsageError("the JSON Schema refers to another document, which is not fetched: put it in place")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise UsageError(f"the JSON Schema is wrong: {error.message}") from error
    return Draft202012Validator(schema)


def _references(node: Any) -> bool:
    """Whether a `$ref` in it leads anywhere but into itself."""
    if isinstance(node, dict):
        leads_out = isinstance(node.get("$ref"), str) and not node["$ref"].startswith("#")
        return leads_out or any(_references(child) for child in node.values())
    return isinstance(node, list) and any(_references(child) for child in node)


TASK = Ask()
