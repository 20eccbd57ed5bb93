// A bounding box parser for DeepStream's nvinfer: the detections of a graph that ends in NMS (num_dets, det_boxes, det_scores,
// det_classes) or that returns boxes (scores, labels, boxes: DETR and its relatives). Boxes are x1 y1 x2 y2 in pixels of the input.
//
// Build it on the device, in this folder:
//   g++ -std=c++14 -O2 -shared -fPIC -I/opt/nvidia/deepstream/deepstream/sources/includes -I/usr/local/cuda/include nvdsinfer_adaptrt.cpp -o libnvdsinfer_adaptrt.so
#include <algorithm>
#include <cstdint>
#include <iostream>
#include <string>
#include <vector>

#include "nvdsinfer_custom_impl.h"

namespace {

constexpr int INT64_TYPE = 4;  // newer versions of nvdsinfer.h name it INT64

using Layers = std::vector<NvDsInferLayerInfo>;

const NvDsInferLayerInfo *find(Layers const &layers, std::vector<std::string> const &names) {
  for (auto const &layer : layers)
    if (layer.layerName && std::find(names.begin(), names.end(), layer.layerName) != names.end()) return &layer;
  return nullptr;
}

bool integers(NvDsInferLayerInfo const &layer) {
  return layer.dataType == INT32 || static_cast<int>(layer.dataType) == INT64_TYPE;
}

std::int64_t integer(NvDsInferLayerInfo const &layer, unsigned int index) {
  return layer.dataType == INT32 ? static_cast<const std::int32_t *>(layer.buffer)[index]
                                 : static_cast<const std::int64_t *>(layer.buffer)[index];
}

}  // namespace

extern "C" bool NvDsInferParseAdaptrt(Layers const &outputLayersInfo, NvDsInferNetworkInfo const &networkInfo,
                                      NvDsInferParseDetectionParams const &detectionParams,
                                      std::vector<NvDsInferObjectDetectionInfo> &objectList);

extern "C" bool NvDsInferParseAdaptrt(Layers const &outputLayersInfo, NvDsInferNetworkInfo const &networkInfo,
                                      NvDsInferParseDetectionParams const &detectionParams,
                                      std::vector<NvDsInferObjectDetectionInfo> &objectList) {
  auto count = find(outputLayersInfo, {"num_dets", "num_detections"});
  auto boxes = find(outputLayersInfo, {"det_boxes", "detection_boxes", "boxes"});
  auto scores = find(outputLayersInfo, {"det_scores", "detection_scores", "scores"});
  auto classes = find(outputLayersInfo, {"det_classes", "detection_classes", "labels"});
  if (!boxes || !scores || !classes || boxes->dataType != FLOAT || scores->dataType != FLOAT || !integers(*classes) ||
      (count && !integers(*count))) {
    std::cerr << "NvDsInferParseAdaptrt: the outputs must be float boxes and scores and integer classes, found:";
    for (auto const &layer : outputLayersInfo)
      std::cerr << " " << (layer.layerName ? layer.layerName : "?") << " (type " << layer.dataType << ")";
    std::cerr << std::endl;
    return false;
  }
  auto const &thresholds = detectionParams.perClassPreclusterThreshold;
  std::int64_t rows = scores->inferDims.numElements;
  if (count) rows = std::min(rows, integer(*count, 0));
  auto const *corners = static_cast<const float *>(boxes->buffer);
  auto const *values = static_cast<const float *>(scores->buffer);
  auto const width = static_cast<float>(networkInfo.width), height = static_cast<float>(networkInfo.height);
  for (unsigned int row = 0; row < rows; ++row) {
    std::int64_t const label = integer(*classes, row);
    if (label < 0 || label >= detectionParams.numClassesConfigured || label >= static_cast<std::int64_t>(thresholds.size()) ||
        !(values[row] >= thresholds[label]))
      continue;
    auto const *corner = corners + 4 * row;
    NvDsInferObjectDetectionInfo object{};
    object.classId = static_cast<unsigned int>(label);
    object.detectionConfidence = values[row];
    object.left = std::min(std::max(corner[0], 0.0f), width);
    object.top = std::min(std::max(corner[1], 0.0f), height);
    object.width = std::min(std::max(corner[2], 0.0f), width) - object.left;
    object.height = std::min(std::max(corner[3], 0.0f), height) - object.top;
    if (object.width > 0 && object.height > 0) objectList.push_back(object);
  }
  return true;
}

CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(NvDsInferParseAdaptrt);
