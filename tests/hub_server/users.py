"""The users of the Hub by token."""

from dataclasses import dataclass

ALICE, BOB, CAROL = "hf_alice", "hf_bob", "hf_carol"


@dataclass(frozen=True)
class User:
    """A user with a token.

    Attributes:
        name: User name, also the namespace of the user's repositories.
        organizations: Organizations of the user.
        may_write: Whether the token has write access.
    """

    name: str
    organizations: tuple[str, ...] = ()
    may_write: bool = True

    def belongs_to(self, namespace: str) -> bool:
        """Whether a namespace is the user or one of their organizations."""
        return namespace == self.name or namespace in self.organizations


USERS = {
    ALICE: User("alice", ("lab",)),
    BOB: User("bob"),
    CAROL: User("carol", ("lab",), may_write=False),
}
