"""A skops file is audited in full before skops reads it: its types, its sizes and its references."""

import json
import tracemalloc
import zipfile

import numpy as np
import pytest
from hostile import node, nodes, npy, rewrite_skops

from bc_sam.classifiers.kinds import KINDS
from bc_sam.classifiers.safe_io.audit import audit
from bc_sam.classifiers.skops_files import save_estimator
from bc_sam.errors import UntrustedFileError


@pytest.fixture(scope="module")
def files(fitted_classifiers, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifiers")
    for name in ("logistic", "rf"):
        save_estimator(fitted_classifiers[name].estimator, folder / f"{name}.skops")
    return folder


@pytest.fixture
def audited(files, tmp_path):
    """Audits the file of a classifier after changing its members."""

    def run(change, name="logistic"):
        path = rewrite_skops(files / f"{name}.skops", tmp_path / "some.skops", change)
        with zipfile.ZipFile(path) as archive:
            return audit(archive, KINDS[name].types)

    return run


def arrays(members):
    return list(nodes(members["schema.json"], "NdArrayNode"))


def test_an_unchanged_file_passes(audited):
    assert len(audited(lambda members: None)) > 50
    assert len(audited(lambda members: None, "rf")) > 1000


class TestReferences:
    """Skops resolves an id that it has met to the earlier object."""

    def test_a_node_with_only_an_id_is_refused(self, audited):
        def change(members):
            schema = members["schema.json"]
            schema["more"] = {"__id__": schema["__id__"]}

        with pytest.raises(ValueError, match="two different nodes share the id"):
            audited(change)

    def test_a_node_with_the_id_of_another_is_refused(self, audited):
        def change(members):
            first, second = arrays(members)[:2]
            second["__id__"] = first["__id__"]

        with pytest.raises(ValueError, match="two different nodes share the id"):
            audited(change)

    def test_a_graph_with_exponentially_many_paths_is_refused(self, audited):
        def change(members):
            level = node("ListNode", "builtins", "list", content=[])
            for number in range(2, 60):
                again = node("ListNode", "builtins", "list", content=[]) | {"__id__": level["__id__"]}
                level = node("ListNode", "builtins", "list", content=[level, again]) | {"__id__": number}
            members["schema.json"]["more"] = level

        with pytest.raises(ValueError, match="two different nodes share the id"):
            audited(change)

    def test_a_repeated_identical_node_passes(self, audited):
        def change(members):
            members["schema.json"]["more"] = json.loads(json.dumps(arrays(members)[0]))

        assert audited(change)

    def test_one_member_for_two_arrays_is_refused(self, audited):
        def change(members):
            first, second = arrays(members)[:2]
            second["file"] = first["file"]

        with pytest.raises(ValueError, match="two arrays share one member"):
            audited(change)


class TestArrays:
    @pytest.mark.parametrize("shape", [(10**12,), (2**62, 2), (0,), (3, 3), (-1, -9)])
    def test_a_header_of_another_size_is_refused_without_allocating(self, audited, shape):
        def change(members):
            members[arrays(members)[0]["file"]] = npy(np.zeros(8), shape)

        tracemalloc.start()
        with pytest.raises(ValueError, match=r"\.npy is not a numeric array|negative"):
            audited(change)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 10e6

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b"", "reading magic string"),
            (b"\x80\x04.", "reading magic string"),
            (b"PK\x03\x04", "reading magic string"),
            (b"PK\x03\x04" + bytes(60), "magic string is not correct"),
            (b"\x93NUMPY\x03\x00", "unsupported version of the npy format"),
            (npy(np.array([], "V8"), (10**12,)).replace(b"V8", b"V0"), "is not a numeric array"),
        ],
        ids=["empty", "a pickle", "a cut zip archive", "a zip archive", "another npy version", "items of no size"],
    )
    def test_anything_but_a_plain_array_is_refused(self, audited, content, reason):
        def change(members):
            members[arrays(members)[0]["file"]] = content

        with pytest.raises(ValueError, match=reason):
            audited(change)

    def test_an_array_of_objects_is_refused(self, audited):
        def change(members):
            arrays(members)[0].update(type="json", content=[], shape=[])

        with pytest.raises(ValueError, match="is not numeric"):
            audited(change)

    @pytest.mark.parametrize("name", ["nowhere.npy", "../outside.npy", None, []])
    def test_a_missing_member_is_refused(self, audited, name):
        def change(members):
            arrays(members)[0]["file"] = name

        with pytest.raises(ValueError, match="an array names a member that the file does not have"):
            audited(change)


class TestTrees:
    """`Tree` trusts its constructor arguments and state, and crashes on these."""

    @pytest.mark.parametrize("outputs", ["1000000000", "0", "-1", "null", "[1]"])
    def test_several_outputs_are_refused(self, audited, outputs):
        def change(members):
            tree = next(nodes(members["schema.json"], "TreeNode"))
            number = tree["__reduce__"]["args"]["content"][2]
            number.update(content=outputs, __id__=1)

        with pytest.raises(ValueError, match="a shape that scikit-learn never writes"):
            audited(change, "rf")

    @pytest.mark.parametrize("shape", [(), (1, 1)])
    def test_a_node_array_that_is_not_one_dimensional_is_refused(self, audited, shape):
        def change(members):
            tree = next(nodes(members["schema.json"], "TreeNode"))
            members[tree["content"]["content"]["nodes"]["file"]] = npy(np.zeros(shape))

        with pytest.raises(ValueError, match="a shape that scikit-learn never writes"):
            audited(change, "rf")

    def test_nodes_that_are_not_an_array_are_refused(self, audited):
        def change(members):
            tree = next(nodes(members["schema.json"], "TreeNode"))
            tree["content"]["content"]["nodes"] = node("JsonNode", "builtins", "str", content="[]", is_json=True)

        with pytest.raises(ValueError, match="JsonNode instead of NdArrayNode"):
            audited(change, "rf")

    def test_a_state_of_another_type_is_refused(self, audited):
        def change(members):
            tree = next(nodes(members["schema.json"], "TreeNode"))
            tree["content"] = node("JsonNode", "builtins", "str", content="{}", is_json=True)

        with pytest.raises(ValueError, match="JsonNode instead of DictNode"):
            audited(change, "rf")


class TestBombs:
    def audit_members(self, tmp_path, members, compression=zipfile.ZIP_DEFLATED, declared=None, **limits):
        with zipfile.ZipFile(tmp_path / "some.skops", "w", compression) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
            for member in archive.infolist():
                member.file_size = declared or member.file_size
        with zipfile.ZipFile(tmp_path / "some.skops") as archive:
            return audit(archive, KINDS["logistic"].types, **limits)

    def test_a_file_that_would_unpack_to_gigabytes_is_refused_unread(self, tmp_path):
        with pytest.raises(UntrustedFileError, match=r"some\.skops would grow from .* Do not trust it"):
            self.audit_members(tmp_path, {"schema.json": b"{}"}, declared=2**40)

    def test_a_file_larger_than_any_classifier_is_refused(self, tmp_path):
        with pytest.raises(UntrustedFileError, match=r"some\.skops is larger than any classifier"):
            self.audit_members(tmp_path, {"schema.json": b"{}", "a.npy": bytes(20)}, max_bytes=10)

    def test_an_oversized_schema_is_refused_unparsed(self, tmp_path):
        with pytest.raises(UntrustedFileError, match="schema larger than any"):
            self.audit_members(tmp_path, {"schema.json": b" " * (33 * 2**20)})

    def test_a_schema_nested_too_deeply_is_refused(self, tmp_path):
        with pytest.raises(RecursionError):
            self.audit_members(tmp_path, {"schema.json": b"[" * 10**6})

    @pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
    def test_other_compression_methods_are_refused(self, tmp_path, compression):
        with pytest.raises(ValueError, match="compression method"):
            self.audit_members(tmp_path, {"schema.json": b"{}"}, compression)

    def test_a_file_without_a_schema_is_refused(self, tmp_path):
        with pytest.raises(KeyError, match=r"schema\.json"):
            self.audit_members(tmp_path, {"a.npy": b""})
