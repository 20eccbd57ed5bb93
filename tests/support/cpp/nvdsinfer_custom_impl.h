// A stand-in for DeepStream's headers: the types that a bounding box parser uses.
#pragma once

#include <vector>

#define NVDSINFER_MAX_DIMS 8

enum NvDsInferDataType { FLOAT = 0, HALF = 1, INT8 = 2, INT32 = 3 };

struct NvDsInferDims {
  unsigned int numDims;
  unsigned int d[NVDSINFER_MAX_DIMS];
  unsigned int numElements;
};

struct NvDsInferLayerInfo {
  NvDsInferDataType dataType;
  NvDsInferDims inferDims;
  int bindingIndex;
  const char *layerName;
  void *buffer;
  int isInput;
};

struct NvDsInferNetworkInfo {
  unsigned int width;
  unsigned int height;
  unsigned int channels;
};

struct NvDsInferParseDetectionParams {
  unsigned int numClassesConfigured;
  std::vector<float> perClassPreclusterThreshold;
  std::vector<float> perClassPostclusterThreshold;
};

struct NvDsInferObjectDetectionInfo {
  unsigned int classId;
  float left;
  float top;
  float width;
  float height;
  float detectionConfidence;
};

using NvDsInferParseCustomFunc = bool (*)(std::vector<NvDsInferLayerInfo> const &, NvDsInferNetworkInfo const &,
                                          NvDsInferParseDetectionParams const &, std::vector<NvDsInferObjectDetectionInfo> &);

#define CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(function) \
  static NvDsInferParseCustomFunc checked_##function __attribute__((unused)) = function;
