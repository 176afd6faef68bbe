"""The bodies of that page's own routes as types."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from deechat.web.bodies import Id

Ids = Annotated[list[Id], Meta(max_length=1000)]


class Slugs(Struct):
    slugs: Ids


class Search(Struct, rename="camel"):
    search_term: Annotated[str, Meta(max_length=1000)]


class Fork(Struct, rename="camel"):
    thread_slug: Id | None = None
    chat_id: Id | None = None


class UpdateChat(Struct, rename="camel"):
    chat_id: Id
    new_text: Annotated[str, Meta(min_length=1, max_length=1_000_000)]
    role: Literal["user", "assistant"] = "assistant"


class EditedChats(Struct, rename="camel"):
    starting_id: Id


class Chats(Struct, rename="camel"):
    chat_ids: Ids


class Feedback(Struct):
    feedback: bool | None = None
