import pytest
from jinja2 import DictLoader, UndefinedError

from bc_sam.utils.templates import html_templates, markdown_templates

HOSTILE = "<script>|`[x](y)\n# y"


def rendered(environment, text, **values):
    return environment(DictLoader({"page": text})).get_template("page").render(**values)


def test_html_escapes_every_value():
    assert "<script>" not in rendered(html_templates, "{{ name }}", name=HOSTILE)


def test_markdown_leaves_the_template_as_it_is_and_a_cell_within_its_cell():
    text = rendered(markdown_templates, "| <b>`x`</b> | {{ name | cell }} |", name=HOSTILE)
    assert text.startswith("| <b>`x`</b> | ")
    assert text.count("|") == 3
    assert not {"<script>", "`[", "\n"} & {text[at : at + n] for at in range(len(text)) for n in (1, 2, 8)}


@pytest.mark.parametrize("environment", [html_templates, markdown_templates])
def test_a_name_that_nothing_was_given_for_is_an_error(environment):
    with pytest.raises(UndefinedError, match="missing"):
        rendered(environment, "{{ missing }}")


@pytest.mark.parametrize("environment", [html_templates, markdown_templates])
def test_a_line_that_holds_a_tag_alone_leaves_no_blank_one(environment):
    assert rendered(environment, "a\n  {% if true %}\nb\n  {% endif %}\nc") == "a\nb\nc"
