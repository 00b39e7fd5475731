# Read by PyTorch's CMake at its `project()`: where the submodules lie that some versions look for
# on the network when the features that usually name their place are switched off.
foreach(pair "PSIMD;psimd" "FXDIV;FXdiv" "FP16;FP16" "CPUINFO;cpuinfo" "PTHREADPOOL;pthreadpool")
  list(GET pair 0 name)
  list(GET pair 1 folder)
  set(place "${CMAKE_CURRENT_SOURCE_DIR}/third_party/${folder}")
  if(NOT DEFINED ${name}_SOURCE_DIR AND EXISTS "${place}/CMakeLists.txt")
    set(${name}_SOURCE_DIR "${place}" CACHE STRING "sources of ${name}")
  endif()
endforeach()
