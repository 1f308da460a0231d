# shellcheck shell=bash disable=SC2016
# Sourced by seed.sh: branches of the project that write the secrets of the build where no cleaning reaches them, and two
# where it does. $GIT_TOKEN is the secret of the lab (packer.sh).
leaky layer-plain 'RUN --mount=type=secret,id=npm cat /run/secrets/npm >/npmrc'
leaky layer-base64 'RUN --mount=type=secret,id=npm base64 /run/secrets/npm >/npmrc'
leaky layer-gzip 'RUN --mount=type=secret,id=npm gzip -c /run/secrets/npm >/npmrc.gz'
leaky layer-argument $'ARG NPM_TOKEN\nRUN echo "//registry/:_authToken=$NPM_TOKEN" >/npmrc'
leaky layer-copy 'COPY token /etc/token' "token=$GIT_TOKEN"
leaky layer-copy-base64 'COPY token /etc/token' "token=$(printf %s "$GIT_TOKEN" | base64 -w0)"
leaky step-name $'ARG NPM_TOKEN\nWORKDIR /srv/$NPM_TOKEN'
# These two are cleaned: what is only in a cache mount, and what only passes through the context.
leaky cache-mount $'RUN --mount=type=secret,id=npm --mount=type=cache,target=/cc cp /run/secrets/npm /cc/npm'
leaky context-only 'RUN --mount=type=bind,target=/context sha256sum /context/token >/sum' "token=$GIT_TOKEN"
