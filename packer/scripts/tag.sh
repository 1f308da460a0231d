#!/usr/bin/env bash
# Runs where Packer runs, after the AMI is there: tags it and its snapshots, in every region it was copied to, with what is
# only known by then. From OUTPUT_DIR/manifest.json (Packer's) and OUTPUT_DIR/sealed.json (the seal's).
set -euo pipefail

# sealed KEY: the value of a key of the seal.
sealed() {
  grep -oE "\"$1\" *: *(\"[^\"]*\"|[0-9.]+)" "$OUTPUT_DIR/sealed.json" | sed -E 's/^[^:]*: *//; s/"//g'
}

# amis: lines REGION:AMI of the last build in the manifest.
amis() {
  sed -nE 's/.*"artifact_id": *"([^"]+)".*/\1/p' "$OUTPUT_DIR/manifest.json" | tail -1 | tr , '\n'
}

endpoint=()
if [ -n "${ENDPOINT_EC2:-}" ]; then
  endpoint=(--endpoint-url "$ENDPOINT_EC2")
fi
tags=("Key=cachewarm:commit,Value=$(sealed commit)"
  "Key=cachewarm:manifest,Value=$(sealed manifest_digest)"
  "Key=cachewarm:hit-rate,Value=$(sealed hit_rate)"
  "Key=cachewarm:sealed-at,Value=$(sealed sealed_at)")
while IFS=: read -r region ami; do
  snapshots=$(aws ec2 describe-images "${endpoint[@]}" --region "$region" --image-ids "$ami" --output text \
    --query 'Images[].BlockDeviceMappings[].Ebs.SnapshotId')
  # Word splitting is meant: one argument per snapshot.
  # shellcheck disable=SC2086
  aws ec2 create-tags "${endpoint[@]}" --region "$region" --resources "$ami" $snapshots --tags "${tags[@]}"
  echo "tagged $ami ($region): ${tags[*]}"
done < <(amis)
