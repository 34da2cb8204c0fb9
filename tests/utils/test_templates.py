import pytest
from jinja2 import DictLoader, UndefinedError

from bc_sam.utils.templates import html_templates, markdown_templates

HOSTILE = "<script>|`[x](y)\n# y"


def rendered(environment, text, **values):
    return environment(DictLoader({"page": text})).get_template("page").render(**values)


def test_html_escapes_every_value():
    assert "<script>" not in rendered(html_templates, "{{ name }}", name=HOSTILE)


def test_markdown_escapes_only_values_that_go_through_cell():
    text = rendered(markdown_templates, "| <b>`x`</b> | {{ name | cell }} |", name=HOSTILE)
    assert text.startswith("| <b>`x`</b> | ")
    assert text.count("|") == 3
    assert not {"<script>", "`[", "\n"} & {text[at : at + n] for at in range(len(text)) for n in (1, 2, 8)}


@pytest.mark.parametrize("environment", [html_templates, markdown_templates])
def test_an_undefined_name_is_an_error(environment):
    with pytest.raises(UndefinedError, match="missing"):
        rendered(environment, "{{ missing }}")


@pytest.mark.parametrize("environment", [html_templates, markdown_templates])
def test_a_line_with_only_a_tag_leaves_no_blank_line(environment):
    assert rendered(environment, "a\n  {% if true %}\nb\n  {% endif %}\nc") == "a\nb\nc"
