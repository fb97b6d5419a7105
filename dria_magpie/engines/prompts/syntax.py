"""What is added to Jinja's grammar, and the checks that are woven into a template's tree."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.visitor import NodeTransformer


class GenerationTag(Extension):
    """``{% generation %}…{% endgeneration %}``: marks answers for training, changes no text."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node:
        """Read the tag; its body is rendered in a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def weave_checks(tree: nodes.Template, environment: Environment) -> nodes.Template:
    """Make every pass of a loop, and all that can grow, go through the environment's checks."""
    checked: nodes.Template = _Weaver().visit(tree)
    checked.set_environment(environment)
    return checked


class _Weaver(NodeTransformer):
    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802
        self.generic_visit(node)
        # Constant text is written without a call; so it is counted here, once a pass
        constant = sum(len(text.data) for text in node.find_all(nodes.TemplateData))
        node.body.insert(0, nodes.ExprStmt(_call("tick", nodes.Const(constant)), lineno=1))
        if node.test is not None:
            node.test = nodes.And(_call("tick", nodes.Const(0)), node.test)
        return node

    def visit_List(self, node: nodes.List) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _call("keep", node)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _call("keep", node)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _call("keep", node) if node.ctx == "load" else node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:  # noqa: N802
        self.generic_visit(node)
        return _call("tilde", *node.nodes)


def _call(name: str, *arguments: Any) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), list(arguments), [], None, None)
