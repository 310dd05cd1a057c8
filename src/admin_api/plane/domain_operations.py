"""What each endpoint of domains and certificates takes and gives, for the document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from admin_api.dialect import EVENT_STREAM, Answer, Operation
from admin_api.models import model_of
from admin_api.plane import domain_schema, schema
from admin_api.plane.operations import (
    CONFLICT,
    IF_MATCH,
    IF_NONE_MATCH,
    INVALID,
    NOT_JSON,
    NOT_SAVED,
    PROTECTED,
    STALE,
    TOO_LARGE,
    TOO_MANY,
)
from admin_api.plane.pem import CHAIN_TYPE, PEM_TYPE

_TEXT: Final = "text/plain"
_TAG: Final[Mapping[str, str]] = {"ETag": "The revision of the domain, quoted; its certificate has no part in it."}
_NO_DOMAIN: Final = Answer(description="There is no such domain.", model=schema.Error)
_NO_CERTIFICATE: Final = Answer(description="Nothing is known of a certificate for this name.", model=schema.Error)
_NO_PROJECT: Final = Answer(description="There is no such project.", model=schema.Error)
_NO_DESK: Final = Answer(
    description="This node keeps no certificates, or the store does not answer.", model=schema.Error
)
_NOT_PEM: Final = Answer(description="The body is neither JSON nor PEM.", model=schema.Error)

_VIEW: Final = model_of(domain_schema.DomainView)
_DETAIL: Final = model_of(domain_schema.CertificateDetail)

LIST_DOMAINS: Final = Operation(
    id="list_domains",
    summary="Domains in the order of their names, and how their certificates do",
    query=domain_schema.DomainsQuery,
    answers={
        200: Answer(description="One page.", model=model_of(domain_schema.DomainPage)),
        400: INVALID,
        **PROTECTED,
    },
)
GET_DOMAIN: Final = Operation(
    id="get_domain",
    summary="A domain, how its certificate does, and the records that it needs",
    answers={
        200: Answer(description="As it is now.", model=_VIEW, headers=_TAG),
        400: INVALID,
        **PROTECTED,
        404: _NO_DOMAIN,
    },
)
PUT_DOMAIN: Final = Operation(
    id="put_domain",
    summary="Create or replace a domain",
    description="The answer comes when the change is on disk. The certificate comes later: `status` says how it does, "
    "and `GET /domains/{name}/events` tells its progress. The body may be left out. Repeating it changes nothing.",
    body=domain_schema.DomainBody,
    headers={**IF_MATCH, **IF_NONE_MATCH},
    answers={
        200: Answer(description="It replaced the domain.", model=_VIEW, headers=_TAG),
        201: Answer(description="It is new.", model=_VIEW, headers={**_TAG, "Location": "The path of the new domain."}),
        400: INVALID,
        **PROTECTED,
        409: CONFLICT,
        412: STALE,
        413: TOO_LARGE,
        415: NOT_JSON,
        503: NOT_SAVED,
    },
)
DELETE_DOMAIN: Final = Operation(
    id="delete_domain",
    summary="Remove a domain",
    description="It answers no more as another host does, and its certificate is not renewed.",
    headers=IF_MATCH,
    answers={
        204: Answer(description="It is gone."),
        400: INVALID,
        **PROTECTED,
        404: _NO_DOMAIN,
        412: STALE,
        503: NOT_SAVED,
    },
)
CHECK_DOMAIN: Final = Operation(
    id="check_domain",
    summary="What the public records of a name say about its chances",
    description="The name need not be a domain yet. The answer takes a few seconds. When nothing stands in the way of "
    "a domain any more, its certificate is ordered at once.",
    answers={
        200: Answer(description="What was found.", model=model_of(domain_schema.Checked)),
        400: INVALID,
        **PROTECTED,
        503: _NO_DESK,
    },
)
FOLLOW_DOMAIN: Final = Operation(
    id="follow_domain",
    summary="A domain as it is, and again whenever something of it changes",
    description="After an event called `end` the domain has been removed and nothing more comes.",
    answers={
        200: Answer(description="Events whose data is a DomainView object.", media=EVENT_STREAM),
        400: INVALID,
        **PROTECTED,
        404: _NO_DOMAIN,
        503: TOO_MANY,
    },
)
LIST_CERTIFICATES: Final = Operation(
    id="list_certificates",
    summary="Certificates in the order of the names that they are for",
    query=domain_schema.CertificatesQuery,
    answers={
        200: Answer(description="One page.", model=model_of(domain_schema.CertificatePage)),
        400: INVALID,
        **PROTECTED,
    },
)
GET_CERTIFICATE: Final = Operation(
    id="get_certificate",
    summary="How the certificate for a name does, with its chain",
    answers={
        200: Answer(description="As it is now.", model=_DETAIL),
        400: INVALID,
        **PROTECTED,
        404: _NO_CERTIFICATE,
    },
)
FOLLOW_CERTIFICATE: Final = Operation(
    id="follow_certificate",
    summary="How the certificate for a name does, and again whenever that changes",
    description="After an event called `end` nothing is known of it any more.",
    answers={
        200: Answer(description="Events whose data is a CertificateFact object.", media=EVENT_STREAM),
        400: INVALID,
        **PROTECTED,
        404: _NO_CERTIFICATE,
        503: TOO_MANY,
    },
)
RENEW_CERTIFICATE: Final = Operation(
    id="renew_certificate",
    summary="Obtain a new certificate now, whatever was planned",
    description="The wish is on disk when the answer comes, and is carried out within the limits of the authority.",
    answers={
        202: Answer(description="It will be obtained.", model=_DETAIL),
        400: INVALID,
        **PROTECTED,
        404: _NO_CERTIFICATE,
        409: CONFLICT,
        503: _NO_DESK,
    },
)
REVOKE_CERTIFICATE: Final = Operation(
    id="revoke_certificate",
    summary="Have the issuer revoke the certificate",
    description="A name that is still wanted gets another one with a new key at once. The body may be left out.",
    body=model_of(domain_schema.Revocation),
    answers={
        200: Answer(description="It is revoked.", model=_DETAIL),
        400: INVALID,
        **PROTECTED,
        404: _NO_CERTIFICATE,
        409: CONFLICT,
        413: TOO_LARGE,
        415: NOT_JSON,
        503: _NO_DESK,
    },
)
IMPORT_CERTIFICATE: Final = Operation(
    id="import_certificate",
    summary="Serve a certificate that was obtained elsewhere",
    description="The chain, leaf first, and the private key, as PEM itself or in JSON. The key has to belong to the "
    "leaf, which must not have expired. A name that is wanted is renewed when it ends.",
    body=model_of(domain_schema.PemBody),
    text_body=PEM_TYPE,
    answers={
        201: Answer(
            description="It is served.", model=_DETAIL, headers={"Location": "The path of what is known of it."}
        ),
        400: INVALID,
        **PROTECTED,
        409: CONFLICT,
        413: TOO_LARGE,
        415: _NOT_PEM,
        503: _NO_DESK,
    },
)
EXPORT_CHAIN: Final = Operation(
    id="export_chain",
    summary="The chain of a certificate",
    description="In PEM, leaf first.",
    answers={
        200: Answer(description="PEM.", media=CHAIN_TYPE, headers={"Cache-Control": "`no-store`"}),
        400: INVALID,
        **PROTECTED,
        404: _NO_CERTIFICATE,
        503: _NO_DESK,
    },
)
EXPORT_CERTIFICATE: Final = Operation(
    id="export_certificate",
    summary="The chain of a certificate, and its key if wanted",
    description=f"In PEM, leaf first; with the key the type is {PEM_TYPE}. Whoever has the key can pretend to be the "
    "domain. That it was given out is logged. A node that asks for signatures wants one with `X-Timestamp` here.",
    body=model_of(domain_schema.PemWish),
    answers={
        200: Answer(description="PEM.", media=CHAIN_TYPE, headers={"Cache-Control": "`no-store`"}),
        400: INVALID,
        **PROTECTED,
        404: _NO_CERTIFICATE,
        413: TOO_LARGE,
        415: NOT_JSON,
        503: _NO_DESK,
    },
)
REMOVE_CERTIFICATE: Final = Operation(
    id="remove_certificate",
    summary="Remove a certificate that was imported",
    description="It is served no more. A name that is wanted gets one from an authority.",
    answers={
        204: Answer(description="It is gone."),
        400: INVALID,
        **PROTECTED,
        404: _NO_CERTIFICATE,
        409: CONFLICT,
        503: _NO_DESK,
    },
)
ROOT_CERTIFICATE: Final = Operation(
    id="root_certificate",
    summary="The root of the internal authority, for others to trust",
    answers={200: Answer(description="PEM.", media=CHAIN_TYPE), **PROTECTED, 503: _NO_DESK},
)
ADD_PROJECT_DOMAIN: Final = Operation(
    id="add_project_domain",
    summary="Add a custom domain to a project",
    description="Its certificate is obtained at once. Repeating it changes nothing.",
    body=model_of(domain_schema.ProjectDomain),
    answers={
        200: Answer(description="`Domain added`", media=_TEXT),
        400: INVALID,
        **PROTECTED,
        404: _NO_PROJECT,
        409: CONFLICT,
        413: TOO_LARGE,
        415: NOT_JSON,
        503: NOT_SAVED,
    },
)
REMOVE_PROJECT_DOMAIN: Final = Operation(
    id="remove_project_domain",
    summary="Remove a custom domain from a project",
    description="The domain is in the body. Repeating it changes nothing.",
    body=model_of(domain_schema.ProjectDomain),
    answers={
        200: Answer(description="`Domain removed`", media=_TEXT),
        400: INVALID,
        **PROTECTED,
        404: _NO_PROJECT,
        413: TOO_LARGE,
        415: NOT_JSON,
        503: NOT_SAVED,
    },
)
