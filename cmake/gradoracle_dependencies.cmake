# Every library the project builds on. README lists what each is for. The installed package repeats what it needs of
# this list in gradoracleConfig.cmake.in.
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED) # module mode: Debian's 3.21 has no config file; must precede gRPC
find_package(gRPC CONFIG REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(tomlplusplus REQUIRED)
find_package(xtensor REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(civetweb CONFIG REQUIRED)
find_package(SQLite3 REQUIRED)
find_package(PostgreSQL REQUIRED) # libpq
find_package(Boost 1.74 REQUIRED) # headers: Boost.Math
if(GRADORACLE_BUILD_CLIENT)
  find_package(OpenBLAS REQUIRED CONFIG) # streaming covariance; none in the server
endif()
find_program(GRADORACLE_GRPC_CPP_PLUGIN grpc_cpp_plugin REQUIRED) # Debian's gRPC config has no plugin target
find_path(GRADORACLE_LIBCSV_INCLUDE_DIR csv.h REQUIRED)
find_library(GRADORACLE_LIBCSV_LIBRARY csv REQUIRED)
find_path(GRADORACLE_SPECTRA_INCLUDE_DIR Spectra/SymEigsSolver.h REQUIRED)
find_path(GRADORACLE_GRPC_PROTO_DIR grpc/health/v1/health.proto REQUIRED PATHS /usr/share/grpc-proto)
