"""Amazon's clients: with keys, with what the machine has by itself, or by a role.

A role is taken without any key: Google vouches for the machine's service account with a token of
an hour, which AWS exchanges for keys of an hour (AssumeRoleWithWebIdentity). AWS knows Google's
tokens by itself, as `accounts.google.com`; the role's trust policy says which account
(deploy/aws-trust.json).
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleWithWebIdentityCredentialFetcher,
    DeferredRefreshableCredentials,
)
from botocore.exceptions import CredentialRetrievalError
from botocore.utils import FileWebIdentityTokenLoader
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import id_token

from stores.google import RedirectRefused, TokenRequest
from stores.settings import S3Settings

# Whom Google's token is for: the `accounts.google.com:oaud` of the role's trust policy.
AUDIENCE = "data-pipelines"
# How AWS's logs call the sessions.
SESSION = "data-pipelines"
# As botocore's own variable: a token of another provider's, which its file holds.
TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"  # noqa: S105  # a variable's name


def s3_client(settings: S3Settings, config: Config) -> Any:
    """A client for S3; what the settings' options say wins. Nothing is sent yet."""
    options = {"endpoint_url": settings.endpoint_url and str(settings.endpoint_url)}
    options |= settings.options
    merged = config.merge(options.pop("config", Config()))
    return session_for(settings).client("s3", config=merged, **options)


def session_for(settings: S3Settings) -> Any:
    """A session of boto3's with the keys, the role, or what the machine has by itself."""
    if not settings.role_arn:
        secret = settings.secret_access_key
        return boto3.Session(
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=secret and secret.get_secret_value(),
            aws_session_token=settings.session_token,
            profile_name=settings.profile,
            region_name=settings.region,
        )
    core = botocore.session.get_session()
    # With a token; AssumeRole, which boto3 would call, needs keys.
    fetcher = AssumeRoleWithWebIdentityCredentialFetcher(
        partial(core.create_client, region_name=settings.region),
        web_identity_token_loader=web_identity,
        role_arn=settings.role_arn,
        extra_args={"RoleSessionName": SESSION},
    )
    core._credentials = DeferredRefreshableCredentials(
        method="assume-role-with-web-identity", refresh_using=fetcher.fetch_credentials
    )
    return boto3.Session(botocore_session=core, region_name=settings.region)


def web_identity() -> str:
    """A token that says who this machine is. Raises CredentialRetrievalError."""
    if file := os.environ.get(TOKEN_FILE):
        return str(FileWebIdentityTokenLoader(file)())
    try:
        return str(id_token.fetch_id_token(TokenRequest(), AUDIENCE))
    except (GoogleAuthError, RedirectRefused) as error:
        said = (
            f"this machine has no token of Google's for AWS_ROLE_ARN ({type(error).__name__}):"
            " only one with an attached service account has"
        )
        raise CredentialRetrievalError(provider="google", error_msg=said) from error
