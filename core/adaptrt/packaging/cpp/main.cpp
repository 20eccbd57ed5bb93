// Runs an engine on one image: main MODEL.engine spec.json IMAGE.ppm
//
// The image is a binary PPM (P6, 8 bit): ffmpeg -i image.jpg image.ppm, or convert image.jpg image.ppm.
#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <memory>

#include "adaptrt.hpp"

namespace {

using adaptrt::require;

class Logger : public nvinfer1::ILogger {
  void log(Severity severity, const char* message) noexcept override {
    if (severity <= Severity::kWARNING) std::fprintf(stderr, "%s\n", message);
  }
};

void check(cudaError_t status) { require(status == cudaSuccess, cudaGetErrorString(status)); }

struct Free {
  void operator()(void* memory) const { cudaFree(memory); }
};

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  require(static_cast<bool>(file), "cannot read " + path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

adaptrt::Image read_ppm(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  int width = 0, height = 0, largest = 0;
  file >> kind >> width >> height >> largest;
  require(kind == "P6" && largest == 255 && width > 0 && height > 0 && width <= 65536 && height <= 65536,
          path + " is not a binary PPM file of 8 bit");
  file.get();
  adaptrt::Image image{height, width, std::vector<uint8_t>(static_cast<size_t>(height) * width * 3)};
  file.read(reinterpret_cast<char*>(image.pixels.data()), static_cast<std::streamsize>(image.pixels.size()));
  require(static_cast<size_t>(file.gcount()) == image.pixels.size(), path + " is too short");
  return image;
}

size_t bytes_of(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT:
    case nvinfer1::DataType::kINT32: return 4;
    case nvinfer1::DataType::kINT64: return 8;
    case nvinfer1::DataType::kUINT8: return 1;
    default: throw std::runtime_error("unsupported type of an input or output");
  }
}

struct Tensor {
  nvinfer1::Dims dims{};
  nvinfer1::DataType type{};
  size_t bytes = 0;
  std::unique_ptr<void, Free> device;
  std::vector<char> host;

  int size(int axis) const { return static_cast<int>(dims.d[axis]); }
  const float* floats() const {
    require(type == nvinfer1::DataType::kFLOAT, "an output is not float32");
    return reinterpret_cast<const float*>(host.data());
  }
};

// Buffers for every tensor of the engine at its current shapes.
std::map<std::string, Tensor> tensors_of(nvinfer1::ICudaEngine& engine, nvinfer1::IExecutionContext& context) {
  std::map<std::string, Tensor> found;
  for (int i = 0; i < engine.getNbIOTensors(); ++i) {
    const char* name = engine.getIOTensorName(i);
    Tensor& tensor = found[name];
    tensor.dims = context.getTensorShape(name);
    tensor.type = engine.getTensorDataType(name);
    tensor.bytes = bytes_of(tensor.type);
    for (int axis = 0; axis < tensor.dims.nbDims; ++axis) {
      require(tensor.dims.d[axis] >= 0, std::string("the shape of ") + name + " depends on data");
      tensor.bytes *= static_cast<size_t>(tensor.dims.d[axis]);
    }
    void* memory = nullptr;
    check(cudaMalloc(&memory, std::max<size_t>(tensor.bytes, 1)));
    tensor.device.reset(memory);
    tensor.host.resize(tensor.bytes);
    require(context.setTensorAddress(name, memory), std::string("cannot set the address of ") + name);
  }
  return found;
}

void print(const std::vector<adaptrt::Detection>& found, const adaptrt::Spec& spec) {
  for (const adaptrt::Detection& one : found)
    std::printf("%s %.4f %.2f %.2f %.2f %.2f\n", spec.label(one.label).c_str(), one.score, one.x1, one.y1, one.x2, one.y2);
}

void decode(std::map<std::string, Tensor>& tensors, const adaptrt::Spec& spec, const adaptrt::Placement& place) {
  const auto output = [&](size_t index, const char* name) -> Tensor& {
    return tensors.count(name) ? tensors.at(name) : tensors.at(spec.outputs.at(index));
  };
  if (spec.decoder == "yolo") {
    const Tensor& raw = output(0, spec.outputs.at(0).c_str());
    print(adaptrt::decode_yolo(raw.floats(), raw.size(1), raw.size(2), spec, place), spec);
  } else if (spec.decoder == "yolo_anchor") {
    const Tensor& raw = output(0, spec.outputs.at(0).c_str());
    print(adaptrt::decode_yolo_anchor(raw.floats(), raw.size(1), raw.size(2), spec, place), spec);
  } else if (spec.decoder == "boxes") {
    const Tensor &scores = output(0, "scores"), &labels = output(1, "labels"), &boxes = output(2, "boxes");
    const int count = scores.size(1);
    if (labels.type == nvinfer1::DataType::kINT64) {
      const auto* values = reinterpret_cast<const int64_t*>(labels.host.data());
      print(adaptrt::decode_boxes(scores.floats(), values, boxes.floats(), count, spec, place), spec);
    } else {
      const auto* values = reinterpret_cast<const int32_t*>(labels.host.data());
      print(adaptrt::decode_boxes(scores.floats(), values, boxes.floats(), count, spec, place), spec);
    }
  } else {
    const Tensor& raw = output(0, spec.outputs.at(0).c_str());
    for (const adaptrt::Class& one : adaptrt::decode_classify(raw.floats(), raw.size(1), spec))
      std::printf("%s %.4f\n", spec.label(one.label).c_str(), one.score);
  }
}

void run(const std::string& model, const std::string& spec_file, const std::string& image_file) {
  const adaptrt::Spec spec = adaptrt::Spec::from_file(spec_file);
  const adaptrt::Image image = read_ppm(image_file);
  const std::string plan = read_file(model);

  Logger logger;
  std::unique_ptr<nvinfer1::IRuntime> runtime(nvinfer1::createInferRuntime(logger));
  require(runtime != nullptr, "TensorRT cannot be started");
  std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime->deserializeCudaEngine(plan.data(), plan.size()));
  require(engine != nullptr, model + " cannot be loaded: it needs the TensorRT version and the kind of GPU that built it");
  std::unique_ptr<nvinfer1::IExecutionContext> context(engine->createExecutionContext());
  require(context != nullptr, "not enough memory for the engine");

  nvinfer1::Dims dims = engine->getTensorShape(spec.input.c_str());
  require(dims.nbDims == 4, "the image input must have four axes");
  dims.d[0] = spec.min_batch;
  dims.d[spec.embedded ? 1 : 2] = spec.height;
  dims.d[spec.embedded ? 2 : 3] = spec.width;
  require(context->setInputShape(spec.input.c_str(), dims), "the engine rejects the shape of the input");
  std::map<std::string, Tensor> tensors = tensors_of(*engine, *context);

  Tensor& input = tensors.at(spec.input);
  const adaptrt::Placement place = spec.embedded
      ? adaptrt::prepare(image, spec, reinterpret_cast<uint8_t*>(input.host.data()))
      : adaptrt::prepare(image, spec, reinterpret_cast<float*>(input.host.data()));
  const size_t one = input.bytes / static_cast<size_t>(spec.min_batch);
  for (int i = 1; i < spec.min_batch; ++i) std::memcpy(input.host.data() + i * one, input.host.data(), one);

  cudaStream_t stream = nullptr;
  check(cudaStreamCreate(&stream));
  check(cudaMemcpyAsync(input.device.get(), input.host.data(), input.bytes, cudaMemcpyHostToDevice, stream));
  require(context->enqueueV3(stream), "the engine cannot be run");
  for (auto& [name, tensor] : tensors)
    if (name != spec.input)
      check(cudaMemcpyAsync(tensor.host.data(), tensor.device.get(), tensor.bytes, cudaMemcpyDeviceToHost, stream));
  check(cudaStreamSynchronize(stream));
  check(cudaStreamDestroy(stream));
  decode(tensors, spec, place);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: %s MODEL.engine spec.json IMAGE.ppm\n", argv[0]);
    return 2;
  }
  try {
    run(argv[1], argv[2], argv[3]);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "Error: %s\n", error.what());
    return 1;
  }
  return 0;
}
