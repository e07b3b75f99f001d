#!/bin/sh
# Dataproc initialization action: the environment of the lock in /opt/is2ice on every node.
# Put this, requirements.lock and the wheel (pip wheel --no-deps .) into gs://BUCKET/is2ice/ first.
set -eu
BUCKET=$(/usr/share/google/get_metadata_value attributes/is2ice-bucket || echo BUCKET)
apt-get update -q && apt-get install -y -q python3.11-venv
python3.11 -m venv /opt/is2ice
gsutil cp "gs://$BUCKET/is2ice/requirements.lock" "gs://$BUCKET/is2ice/*.whl" /tmp/
/opt/is2ice/bin/pip install -q --require-hashes -r /tmp/requirements.lock
/opt/is2ice/bin/pip install -q --no-deps /tmp/is2ice-*.whl
