"""Seal a box's keys with its TPM 2.0, under the owner hierarchy's storage key (`tpm2-pytss`).

The storage key is made anew from the TPM's own seed at each use (the template is always the same),
so nothing has to be made persistent in the TPM. Secrets cross the bus encrypted: the session is
salted with the storage key (TPM 2.0 Library, Part 1, 19.6.5 and 21).
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from provisioning.box.firstboot.errors import TpmError

DEVICE = Path("/dev/tpmrm0")
_DEVICE_TCTI = f"device:{DEVICE}"
TCTI_ENVIRONMENT = "SEALTRACE_TPM"
_STORAGE_KEY = "ecc256:aes128cfb"


def usable(tcti: str | None = None) -> bool:
    """Tell whether there is a TPM that we may use, and the library for it."""
    if importlib.util.find_spec("tpm2_pytss") is None:
        return False
    if tcti or os.environ.get(TCTI_ENVIRONMENT):
        return True
    return os.access(DEVICE, os.R_OK | os.W_OK)


class Tpm:
    """The machine's TPM, or another one.

    Args:
        tcti: how it is reached, such as ``device:/dev/tpmrm0`` or ``swtpm:port=2321``; by default
            the environment's SEALTRACE_TPM, else the kernel's resource manager.
    """

    def __init__(self, tcti: str | None = None) -> None:
        self._tcti = tcti or os.environ.get(TCTI_ENVIRONMENT) or _DEVICE_TCTI
        if importlib.util.find_spec("tpm2_pytss") is None:
            raise TpmError(
                "this box's keys are sealed by its TPM, and the library for it is missing; install"
                " sealtrace[tpm] (Debian: apt install libtss2-dev, then pip)"
            )

    def seal(self, secret: bytes) -> tuple[bytes, bytes]:
        """Seal at most 128 bytes; return the object's public and private part."""
        import tpm2_pytss as tss  # noqa: PLC0415 - an extra

        attributes = (
            tss.TPMA_OBJECT.FIXEDTPM
            | tss.TPMA_OBJECT.FIXEDPARENT
            | tss.TPMA_OBJECT.USERWITHAUTH
            | tss.TPMA_OBJECT.NODA
        )
        template = tss.TPM2B_PUBLIC(
            tss.TPMT_PUBLIC(
                type=tss.TPM2_ALG.KEYEDHASH,
                nameAlg=tss.TPM2_ALG.SHA256,
                objectAttributes=attributes,
                parameters=tss.TPMU_PUBLIC_PARMS(
                    keyedHashDetail=tss.TPMS_KEYEDHASH_PARMS(
                        scheme=tss.TPMT_KEYEDHASH_SCHEME(scheme=tss.TPM2_ALG.NULL)
                    )
                ),
            )
        )
        sensitive = tss.TPM2B_SENSITIVE_CREATE(
            tss.TPMS_SENSITIVE_CREATE(data=tss.TPM2B_SENSITIVE_DATA(secret))
        )
        with self._opened() as (context, storage, session):
            private, public, *_ = context.create(storage, sensitive, template, session1=session)
        return bytes(public.marshal()), bytes(private.marshal())

    def unseal(self, public: bytes, private: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            TpmError: another TPM sealed it, or this one was cleared since.
        """
        import tpm2_pytss as tss  # noqa: PLC0415 - an extra

        try:
            public_part, _ = tss.TPM2B_PUBLIC.unmarshal(public)
            private_part, _ = tss.TPM2B_PRIVATE.unmarshal(private)
        except (tss.TSS2_Exception, ValueError) as error:
            raise TpmError(f"the sealed key is damaged ({error}); admit the box anew") from error
        with self._opened() as (context, storage, session):
            handle = context.load(storage, private_part, public_part, session1=session)
            try:
                return bytes(context.unseal(handle, session1=session))
            finally:
                context.flush_context(handle)

    @contextmanager
    def _opened(self) -> Iterator[tuple[Any, Any, Any]]:
        """Give the TPM, the storage key's handle and an encrypting session."""
        import tpm2_pytss as tss  # noqa: PLC0415 - an extra

        try:
            with tss.ESAPI(self._tcti) as context:
                template = tss.TPM2B_PUBLIC.parse(
                    _STORAGE_KEY,
                    objectAttributes=tss.TPMA_OBJECT.RESTRICTED
                    | tss.TPMA_OBJECT.DECRYPT
                    | tss.TPMA_OBJECT.FIXEDTPM
                    | tss.TPMA_OBJECT.FIXEDPARENT
                    | tss.TPMA_OBJECT.SENSITIVEDATAORIGIN
                    | tss.TPMA_OBJECT.USERWITHAUTH
                    | tss.TPMA_OBJECT.NODA,
                )
                storage, *_ = context.create_primary(None, template)
                try:
                    session = context.start_auth_session(
                        tpm_key=storage,
                        bind=tss.ESYS_TR.NONE,
                        session_type=tss.TPM2_SE.HMAC,
                        symmetric=tss.TPMT_SYM_DEF.parse("aes128cfb"),
                        auth_hash=tss.TPM2_ALG.SHA256,
                    )
                    try:
                        context.trsess_set_attributes(
                            session,
                            tss.TPMA_SESSION.CONTINUESESSION
                            | tss.TPMA_SESSION.ENCRYPT
                            | tss.TPMA_SESSION.DECRYPT,
                        )
                        yield context, storage, session
                    finally:
                        context.flush_context(session)
                finally:
                    context.flush_context(storage)
        except (tss.TSS2_Exception, RuntimeError, OSError) as error:
            raise TpmError(
                f"the TPM at {self._tcti} refuses: {error}; is it another machine's disk, was the"
                " TPM cleared, or may this user not use it (group tss)?"
            ) from error
