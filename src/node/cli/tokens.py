"""`zexio tokens`: mint a mesh token with the secret of the node on this machine."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from node.cli.configured import configured, reader
from node.cli.errors import CommandError
from node.data import DataFolder
from node.tokens import Bearer, mint
from state.errors import SecretError
from state.private_files import read_secret
from state.route_rules import org_id_reason

if TYPE_CHECKING:
    from argparse import Namespace

    from node.settings import Settings


def issue(options: Namespace) -> None:
    """Print a token that the node on this machine believes."""
    if reason := org_id_reason(options.org):
        raise CommandError(f"--org: {options.org!r} {reason}", 2)
    settings = configured(reader(options.config, {"--data": options.data}))
    bearer = Bearer(
        org_id=options.org,
        user_id=options.user,
        source=options.source,
        target=options.target,
        issuer=settings.jwt.issuer,
        audience=settings.jwt.audience,
    )
    token = mint(bearer, _secret(settings), issued_at=int(time.time()), ttl_s=options.ttl)
    print(json.dumps({"token": token, "expires_in": options.ttl}) if options.json else token)


def _secret(settings: Settings) -> str:
    if settings.jwt.secret:
        return settings.jwt.secret
    if settings.jwt.pem_files or settings.jwt.jwks_url:
        raise CommandError("this node believes public keys only; mint the token where the private key is")
    path = DataFolder(settings.node.data).mesh_secret
    try:
        # The node may run as another user than ours: the one whose folder it is.
        return read_secret(path, owner=path.parent.stat().st_uid)
    except FileNotFoundError:
        raise CommandError(f"there is no {path}; name the node's folder with --data, or start it once") from None
    except PermissionError:
        raise CommandError(f"this user may not read {path}; run as the user that the node runs as") from None
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}") from None
    except SecretError as error:
        raise CommandError(str(error)) from None
