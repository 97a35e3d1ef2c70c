"""A signed-in user's tokens, kept: one file in blob storage, sealed, which every instance reads and renews.

Instances share the file under its ETag. Entra does not revoke a refresh token when it is used, so of two instances that
renew at once both hold good ones, and the newer stays:

    A: read e1 -> renew -> save if e1: becomes e2
    B: read e1 ------> renew -> save if e1: conflict -> read e2. Is mine newer? save if e2 : leave it

What `unstale login` keeps meanwhile stays in any case. Killed at any line, the file is what it was, or what it was to
become: one Put Blob replaces it whole. Sign-outs are counted in the table, and the file says how many there were before
it: so an old copy that is put back is nobody's sign-in, whoever could write it. https://learn.microsoft.com/entra/identity-platform/refresh-tokens
"""

from __future__ import annotations

import logging
import os
from typing import Any

from azure.core import MatchConditions
from azure.data.tables import UpdateMode
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec.structs import replace

from functions_azure.clients import AbsentError, Clients, ask
from functions_azure.sign_in.key_vault import KeyVault, Wrapped
from functions_azure.tokens import BoundedHttp
from shared import sign_in as entra
from shared.refresh.ports import Conflict
from shared.sign_in import DamagedSignInError, Kept, Seal, SignIn
from shared.values import Value

ATTEMPTS = 10
"""Conflicts in a row. Each means that somebody else saved."""
NONCE_BYTES = 12
"""96 random bits are good for four billion files under one data key (NIST SP 800-38D, 8.3)."""

log = logging.getLogger("unstale")


class Opened(Value, frozen=True):
    """The file as a process knows it, open. `cache` is msal's, as JSON."""

    etag: str
    """The version of the blob that was read, or written last; a save is on the condition that it is still that one."""
    sign_in: SignIn
    """The first line: who signed in, since when, under which scopes."""
    cache: str
    """The token cache of `msal`, with the refresh token: a secret."""
    data_key: bytes
    """The key that seals the cache, 256 bits: a secret, too."""
    wrapped: Wrapped
    """The same key as only the vault can open it, to be written beside the cache."""

    def __repr__(self) -> str:
        """Without what is in it."""
        return f"Opened({self.etag})"


class SignOuts:
    """How often somebody signed out: a number in a row of the table, beside those of the store."""

    PARTITION, ROW = "sign-in", "sign-outs"

    def __init__(self, clients: Clients, http: BoundedHttp) -> None:
        self._clients = clients
        self._http = http

    def count(self) -> int:
        """Get Entity; 0 where nobody ever did. Raises `StoreDownError`."""
        found = self._read()
        return int(found["count"]) if found else 0

    def add(self) -> None:
        """Raise the number by one, under the ETag of the row. Raises `StoreDownError`, or `Conflict` after many."""
        for _ in range(ATTEMPTS):
            found = self._read()
            row = {"PartitionKey": self.PARTITION, "RowKey": self.ROW, "count": int(found["count"]) + 1 if found else 1}
            try:
                return self._write(row, found.metadata["etag"] if found else "")
            except (Conflict, AbsentError):
                continue
        raise Conflict(f"the number of sign-outs moved on {ATTEMPTS} times")

    def _read(self) -> Any:
        def send(**limits: Any) -> Any:
            return self._clients.table.get_entity(self.PARTITION, self.ROW, **limits)

        try:
            return ask("reading how often somebody signed out", self._http.deadline, send)
        except AbsentError:
            return None

    def _write(self, row: dict[str, Any], etag: str) -> None:
        """Insert, or update under an ETag: a transaction of one, whose errors `ask` tells apart."""
        unchanged = {"mode": UpdateMode.REPLACE, "etag": etag, "match_condition": MatchConditions.IfNotModified}

        def send(**limits: Any) -> None:
            self._clients.table.submit_transaction([("update", row, unchanged) if etag else ("create", row)], **limits)

        ask("counting a sign-out", self._http.deadline, send)


class SignIns:
    """The sealed file with a user's sign-in.

    Everything may raise `StoreDownError`; what needs the key, `VaultRefusedError`.
    """

    def __init__(self, clients: Clients, vault: KeyVault, http: BoundedHttp) -> None:
        """Calls keep the deadline that `http` has in their thread."""
        self._clients = clients
        self._vault = vault
        self._http = http
        self._sign_outs = SignOuts(clients, http)

    def look(self) -> tuple[str, Kept] | None:
        """ETag and file, still sealed; None if nobody is. May raise `DamagedSignInError` or `NewerRecordError`."""

        def download(**limits: Any) -> tuple[str, bytes]:
            found = self._clients.sign_in.download_blob(**limits)
            return str(found.properties.etag), found.readall()

        try:
            etag, file = ask("reading the sign-in", self._http.deadline, download)
        except AbsentError:
            return None
        kept = entra.read_kept(file)
        if kept.sign_in.sign_outs < self._sign_outs.count():
            log.warning("what is kept of a sign-in is a copy from before somebody signed out: it is nobody's")
            return None
        return etag, kept

    def open(self, etag: str, kept: Kept, known: Opened | None = None) -> Opened:
        """Unseal the file; the vault is asked only for an unknown data key. May raise `DamagedSignInError`."""
        wrapped = Wrapped(kept.seal.key_version, kept.seal.wrapped)
        data_key = known.data_key if known and known.wrapped == wrapped else self._vault.unwrap(wrapped)
        try:
            cache = AESGCM(data_key).decrypt(kept.seal.nonce, kept.sealed, kept.head)
        except (InvalidTag, ValueError) as error:
            raise DamagedSignInError("its seal does not fit") from error
        return Opened(etag, kept.sign_in, cache.decode(), data_key, wrapped)

    def save(self, mine: Opened) -> Opened | None:
        """Put a sign-in in the place of the one that was read, or leave a newer one; gives what is there then.

        None: nobody is signed in any more, and a sign-out is never undone by whoever was still at work.
        """
        for _ in range(ATTEMPTS):
            try:
                return replace(mine, etag=self._put(mine, if_still=mine.etag))
            except (Conflict, AbsentError):
                found = self.look()
            if found is None:
                return None
            etag, kept = found
            if not mine.sign_in.outdates(kept.sign_in):
                return self.open(etag, kept, mine)
            mine = replace(mine, etag=etag)
        raise Conflict(f"the sign-in moved on {ATTEMPTS} times")

    def begin(self, sign_in: SignIn, cache: str) -> None:
        """Keep a new sign-in, whatever was there, under a data key of its own."""
        data_key = AESGCM.generate_key(256)
        sign_in = replace(sign_in, sign_outs=self._sign_outs.count())
        self._put(Opened("", sign_in, cache, data_key, self._vault.wrap(data_key)), if_still="")

    def remove(self) -> bool:
        """Sign out; False if nobody was signed in.

        It is counted first, and also where there is no file: one that somebody hid would be signed in again otherwise.
        """
        self._sign_outs.add()

        def delete(**limits: Any) -> None:
            self._clients.sign_in.delete_blob(**limits)

        try:
            ask("removing the sign-in", self._http.deadline, delete)
        except AbsentError:
            return False
        return True

    def _put(self, mine: Opened, *, if_still: str) -> str:
        """Put Blob, under this ETag where there is one; gives the new ETag. Raises `Conflict`.

        Each save has a nonce of its own: AES-GCM gives its key away if two texts have the same one.
        """
        seal = Seal(mine.wrapped.version, mine.wrapped.value, os.urandom(NONCE_BYTES))
        head = entra.write_head(mine.sign_in, seal)
        file = head + b"\n" + AESGCM(mine.data_key).encrypt(seal.nonce, mine.cache.encode(), head)
        condition: dict[str, Any] = (
            {"etag": if_still, "match_condition": MatchConditions.IfNotModified} if if_still else {}
        )

        def upload(**limits: Any) -> str:
            return str(self._clients.sign_in.upload_blob(file, overwrite=True, **condition, **limits)["etag"])

        return ask("saving the sign-in", self._http.deadline, upload)
