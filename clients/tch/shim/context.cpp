// What tch has no function for: libtorch's global switches, and what it says about itself.
// Numbers of controls and texts are those of src/libtorch.rs. No exception leaves this file.

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/version.h>

#include <cstring>
#include <string>

extern "C" {

// Sets a control: 1 it reads back as set, 0 it reads back differently, -1 libtorch refused.
int reproduceml_set_control(int control) {
  try {
    auto& context = at::globalContext();
    switch (control) {
      case 0:
        context.setDeterministicAlgorithms(true, false);
        return context.deterministicAlgorithms();
      case 1:
        context.setDeterministicCuDNN(true);
        return context.deterministicCuDNN();
      case 2:
        context.setBenchmarkCuDNN(false);
        return !context.benchmarkCuDNN();
      case 3:
        context.setAllowTF32CuBLAS(false);
        return !context.allowTF32CuBLAS();
      case 4:
        context.setAllowTF32CuDNN(false);
        return !context.allowTF32CuDNN();
      case 5:
        context.setFloat32MatmulPrecision("highest");
        return context.float32MatmulPrecision() == at::Float32MatmulPrecision::HIGHEST;
      case 6:
        context.setDeterministicFillUninitializedMemory(true);
        return context.deterministicFillUninitializedMemory();
      default:
        return -1;
    }
  } catch (...) {
    return -1;
  }
}

// Copies a text, cut to `capacity` bytes, without an end mark; returns its length.
size_t reproduceml_text(int which, char* into, size_t capacity) {
  try {
    std::string text;
    switch (which) {
      case 0: text = TORCH_VERSION; break;
      case 1: text = at::show_config(); break;
      case 2: text = at::get_parallel_info(); break;
      case 3: text = at::get_cpu_capability(); break;
      default: return 0;
    }
    const size_t length = text.size() < capacity ? text.size() : capacity;
    std::memcpy(into, text.data(), length);
    return length;
  } catch (...) {
    return 0;
  }
}

}  // extern "C"
