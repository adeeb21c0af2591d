"""Source with the backend decided: wherever code asks for one, the plain branch is all that is left.

A hunter who could switch to the fused twin would be told by it which operation is wrong. Works on the syntax tree
and keeps every other character as it stands.
"""

from collections.abc import Sequence

import libcst as cst
import libcst.matchers as m

ASKED = m.Comparison(
    left=m.Name("backend") | m.Attribute(attr=m.Name("backend")),
    comparisons=[m.ComparisonTarget(operator=m.Equal(), comparator=m.SimpleString())],
)


def plain_branch(source: str) -> str:
    """`source` with `backend == "plain"` true and `backend == "fast"` false, and what cannot be reached gone.

    >>> plain_branch('if backend == "plain":\\n    x = 1\\nelse:\\n    x = 2\\n')
    'x = 1\\n'
    """
    return cst.parse_module(source).visit(_Chosen()).code if "backend" in source else source


class _Chosen(cst.CSTTransformer):
    """Folds what is decided, from the inside out."""

    def leave_If(
        self, original_node: cst.If, updated_node: cst.If
    ) -> cst.BaseStatement | cst.FlattenSentinel:
        """The branch that is taken, in the place of the whole statement."""
        asked = _decided(updated_node.test)
        if asked is None and not _refuses(updated_node.body):
            return updated_node
        if asked:
            return cst.FlattenSentinel(_statements(updated_node.body, updated_node.leading_lines))
        rest = updated_node.orelse
        if rest is None:
            return cst.FlattenSentinel([])
        if isinstance(rest, cst.If):
            return rest.with_changes(leading_lines=updated_node.leading_lines)
        return cst.FlattenSentinel(_statements(rest.body, updated_node.leading_lines))

    def leave_IfExp(self, original_node: cst.IfExp, updated_node: cst.IfExp) -> cst.BaseExpression:
        """The value that is taken."""
        asked = _decided(updated_node.test)
        return updated_node if asked is None else updated_node.body if asked else updated_node.orelse

    def leave_IndentedBlock(
        self, original_node: cst.IndentedBlock, updated_node: cst.IndentedBlock
    ) -> cst.IndentedBlock:
        """Nothing after a return."""
        return updated_node.with_changes(body=_reached(updated_node.body))


def _decided(test: cst.BaseExpression) -> bool | None:
    if m.matches(test, ASKED):
        assert isinstance(test, cst.Comparison)
        asked = test.comparisons[0].comparator
        assert isinstance(asked, cst.SimpleString)
        return asked.evaluated_value == "plain"
    if isinstance(test, cst.BooleanOperation):
        sides = [_decided(test.left), _decided(test.right)]
        decisive = isinstance(test.operator, cst.Or)
        return decisive if decisive in sides else None
    return None


def _refuses(body: cst.BaseSuite) -> bool:
    """Whether a block begins by asserting that the backend is the other one."""
    first = body.body[0] if body.body else None
    if not isinstance(first, cst.SimpleStatementLine) or not isinstance(first.body[0], cst.Assert):
        return False
    return _decided(first.body[0].test) is False


def _statements(body: cst.BaseSuite, lines: Sequence[cst.EmptyLine]) -> list[cst.BaseStatement]:
    """The statements of a block, the first under the comments that stood over the whole."""
    assert isinstance(body, cst.IndentedBlock), "the house writes no block on one line"
    first, *rest = body.body
    assert isinstance(first, cst.SimpleStatementLine | cst.BaseCompoundStatement)
    return [first.with_changes(leading_lines=[*lines, *first.leading_lines]), *rest]


def _reached(body: Sequence[cst.BaseStatement]) -> list[cst.BaseStatement]:
    for i, statement in enumerate(body):
        if m.matches(statement, m.SimpleStatementLine(body=[m.Return() | m.Raise()])):
            return list(body[: i + 1])
    return list(body)
