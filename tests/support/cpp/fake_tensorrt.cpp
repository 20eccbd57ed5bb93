// A TensorRT that "runs" an engine file which holds its tensors: lines `in NAME DIMS...` or `out NAME TYPE DIMS...`, then the values
// of the outputs as text. The input that arrives is written to the file input.bin.
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "NvInfer.h"

namespace {
struct Fake {
  bool input = false;
  nvinfer1::DataType type = nvinfer1::DataType::kFLOAT;
  nvinfer1::Dims dims{};
  std::vector<double> values;
  void* address = nullptr;
};
std::vector<std::string> names;
std::map<std::string, Fake> tensors;
size_t count(const Fake& one) {
  size_t found = 1;
  for (int i = 0; i < one.dims.nbDims; ++i) found *= static_cast<size_t>(one.dims.d[i]);
  return found;
}
size_t bytes(const Fake& one) {
  if (one.type == nvinfer1::DataType::kUINT8) return count(one);
  return count(one) * (one.type == nvinfer1::DataType::kINT64 ? 8 : 4);
}
}  // namespace

namespace nvinfer1 {
IRuntime* createInferRuntime(ILogger&) noexcept { return new IRuntime; }
ICudaEngine* IRuntime::deserializeCudaEngine(const void* data, std::size_t size) noexcept {
  std::istringstream text(std::string(static_cast<const char*>(data), size));
  std::string kind, name, type;
  while (text >> kind >> name >> type) {
    Fake& one = tensors[name];
    names.push_back(name);
    one.input = kind == "in";
    one.type = type == "int64" ? DataType::kINT64 : type == "int32" ? DataType::kINT32 : type == "uint8" ? DataType::kUINT8 : DataType::kFLOAT;
    text >> one.dims.nbDims;
    for (int i = 0; i < one.dims.nbDims; ++i) text >> one.dims.d[i];
    if (!one.input) {
      one.values.resize(count(one));
      for (double& value : one.values) text >> value;
    }
  }
  return names.empty() ? nullptr : new ICudaEngine;
}
int32_t ICudaEngine::getNbIOTensors() const noexcept { return static_cast<int32_t>(names.size()); }
const char* ICudaEngine::getIOTensorName(int32_t index) const noexcept { return names[static_cast<size_t>(index)].c_str(); }
DataType ICudaEngine::getTensorDataType(const char* name) const noexcept { return tensors[name].type; }
Dims ICudaEngine::getTensorShape(const char* name) const noexcept {
  Dims dims = tensors[name].dims;
  dims.d[0] = -1;
  return dims;
}
IExecutionContext* ICudaEngine::createExecutionContext() noexcept { return new IExecutionContext; }
bool IExecutionContext::setInputShape(const char* name, const Dims& dims) noexcept {
  return std::memcmp(dims.d, tensors[name].dims.d, sizeof(int64_t) * static_cast<size_t>(dims.nbDims)) == 0;
}
bool IExecutionContext::setTensorAddress(const char* name, void* data) noexcept { return (tensors[name].address = data) != nullptr; }
Dims IExecutionContext::getTensorShape(const char* name) const noexcept { return tensors[name].dims; }
bool IExecutionContext::enqueueV3(cudaStream_t) noexcept {
  for (auto& [name, one] : tensors) {
    if (one.input) {
      std::ofstream("input.bin", std::ios::binary).write(static_cast<const char*>(one.address), static_cast<std::streamsize>(bytes(one)));
      continue;
    }
    for (size_t i = 0; i < one.values.size(); ++i) {
      if (one.type == DataType::kINT64) static_cast<int64_t*>(one.address)[i] = static_cast<int64_t>(one.values[i]);
      else if (one.type == DataType::kINT32) static_cast<int32_t*>(one.address)[i] = static_cast<int32_t>(one.values[i]);
      else static_cast<float*>(one.address)[i] = static_cast<float>(one.values[i]);
    }
  }
  return true;
}
}  // namespace nvinfer1

const char* cudaGetErrorString(cudaError_t) { return "no error"; }
cudaError_t cudaMalloc(void** memory, std::size_t size) { return *memory = std::malloc(size), cudaSuccess; }
cudaError_t cudaFree(void* memory) { return std::free(memory), cudaSuccess; }
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t size, cudaMemcpyKind, cudaStream_t) {
  return std::memcpy(to, from, size), cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) { return *stream = nullptr, cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
