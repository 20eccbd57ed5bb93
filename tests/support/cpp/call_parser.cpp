// Calls the parser for nvinfer. Reads: width height classes threshold outputs, then for each output its name, type, size and
// numbers. Prints a line for each object: class, score, left, top, width, height.
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <list>
#include <string>

#include "nvdsinfer_custom_impl.h"

extern "C" bool NvDsInferParseAdaptrt(std::vector<NvDsInferLayerInfo> const &, NvDsInferNetworkInfo const &,
                                      NvDsInferParseDetectionParams const &, std::vector<NvDsInferObjectDetectionInfo> &);

template <typename T>
void *read(unsigned int size) {
  static std::list<std::vector<T>> kept;
  kept.emplace_back(size);
  for (auto &one : kept.back()) std::cin >> one;
  return kept.back().data();
}

int main() {
  NvDsInferNetworkInfo network{};
  NvDsInferParseDetectionParams params{};
  float threshold;
  std::size_t count;
  std::cin >> network.width >> network.height >> params.numClassesConfigured >> threshold >> count;
  params.perClassPreclusterThreshold.assign(params.numClassesConfigured, threshold);
  std::list<std::string> names;
  std::vector<NvDsInferLayerInfo> layers;
  while (layers.size() < count) {
    std::string name, type;
    NvDsInferLayerInfo layer{};
    std::cin >> name >> type >> layer.inferDims.numElements;
    names.push_back(name);
    layer.layerName = names.back().c_str();
    auto const size = layer.inferDims.numElements;
    if (type == "float32") {
      layer.dataType = FLOAT;
      layer.buffer = read<float>(size);
    } else if (type == "int32") {
      layer.dataType = INT32;
      layer.buffer = read<std::int32_t>(size);
    } else {
      layer.dataType = static_cast<NvDsInferDataType>(4);
      layer.buffer = read<std::int64_t>(size);
    }
    layers.push_back(layer);
  }
  std::vector<NvDsInferObjectDetectionInfo> found;
  if (!std::cin || !NvDsInferParseAdaptrt(layers, network, params, found)) return 1;
  for (auto const &one : found)
    std::printf("%u %.9g %.9g %.9g %.9g %.9g\n", one.classId, one.detectionConfidence, one.left, one.top, one.width, one.height);
}
