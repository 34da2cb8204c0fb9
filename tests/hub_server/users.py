"""The users of the Hub, by their tokens."""

from dataclasses import dataclass

ALICE, BOB, CAROL = "hf_alice", "hf_bob", "hf_carol"


@dataclass(frozen=True)
class User:
    """Somebody with a token.

    Attributes:
        name: Also the namespace of this user's own repositories.
        organisations: Further namespaces that this user belongs to.
        may_write: Whether the token allows more than reading.
    """

    name: str
    organisations: tuple[str, ...] = ()
    may_write: bool = True

    def belongs_to(self, namespace: str) -> bool:
        """Whether repositories of a namespace are this user's own."""
        return namespace == self.name or namespace in self.organisations


USERS = {
    ALICE: User("alice", ("lab",)),
    BOB: User("bob"),
    CAROL: User("carol", ("lab",), may_write=False),
}
