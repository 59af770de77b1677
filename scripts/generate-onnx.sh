#!/bin/sh
# Renews src/onnx/generated/onnx_pb.ts from src/onnx/generated/onnx.proto (Node 22 or newer).
#
# The schema is onnx-ml.proto as shipped in the PyPI package onnx 1.23.2 (Apache-2.0), turned into its proto3 form the way
# ONNX's own gen_proto.py does it (the wire format is the same):
#   sed -e 's/^syntax = "proto2";/syntax = "proto3";/' -e 's/^\( *\)optional /\1/' onnx-ml.proto > onnx.proto
set -e
cd "$(dirname "$0")/.."
npx -y -p @bufbuild/buf@1.75.0 -p @bufbuild/protoc-gen-es@2.17.0 buf generate src/onnx/generated --template '{
  "version": "v2",
  "plugins": [{
    "local": "protoc-gen-es",
    "out": "src/onnx/generated",
    "opt": ["target=ts", "import_extension=ts", "erasable_syntax=true"]
  }]
}'
