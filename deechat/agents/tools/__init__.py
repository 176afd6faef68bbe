"""The tools: the base that makes one of a function, and those that every agent has."""

from __future__ import annotations

from deechat.agents.tools.ask import ask_user
from deechat.agents.tools.base import Policy, Tool, ToolError, make_tool
from deechat.agents.tools.calculator import calculator
from deechat.agents.tools.clock import current_time
from deechat.agents.tools.context import ToolContext, ToolResult
from deechat.agents.tools.web.urls import host_of
from deechat.agents.tools.web.web_fetch import web_fetch
from deechat.events import Image, Link, Source, Table

__all__ = [
    "Image",
    "Link",
    "Policy",
    "Source",
    "Table",
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolResult",
    "builtin_tools",
    "make_tool",
]


def builtin_tools() -> tuple[Tool, ...]:
    """Return the tools that need no setup. All may run again; those that stay on this machine need no yes."""
    return (
        make_tool(calculator, repeatable=True, policy="allow"),
        make_tool(current_time, repeatable=True, policy="allow"),
        # GET is safe: RFC 9110, section 9.2.1
        make_tool(web_fetch, repeatable=True, policy="ask", scope=host_of, scope_name="host"),
        make_tool(ask_user, repeatable=True, policy="allow", asks=True),
    )
