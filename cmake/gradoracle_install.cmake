# Install rules and the package find_package(gradoracle) finds. One export set a library, so that asking for the component
# `core` alone asks for no gRPC. Headers go to include/gradoracle/<folder>/: users write <gradoracle/core/errors.h>, the
# headers among themselves "core/errors.h"; hence both include folders.
include(CMakePackageConfigHelpers)
set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/gradoracle)

foreach(library core estimation audit optimise report risk proto client)
  if(NOT TARGET gradoracle_${library}) # the client side without GRADORACLE_BUILD_CLIENT
    continue()
  endif()
  install(TARGETS gradoracle_${library} EXPORT gradoracle_${library}
          ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development
          LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
          INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
          FILE_SET HEADERS DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/gradoracle COMPONENT development)
  install(EXPORT gradoracle_${library} NAMESPACE gradoracle:: FILE gradoracle_${library}_targets.cmake
          DESTINATION ${config_folder} COMPONENT development)
endforeach()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/gradoracleConfig.cmake.in
                              ${PROJECT_BINARY_DIR}/gradoracleConfig.cmake INSTALL_DESTINATION ${config_folder})
# Before 1.0 a minor version may change the interface; SameMajorVersion from then on.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/gradoracleConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/gradoracleConfig.cmake ${PROJECT_BINARY_DIR}/gradoracleConfigVersion.cmake
        DESTINATION ${config_folder} COMPONENT development)
install(DIRECTORY ${PROJECT_BINARY_DIR}/proto/generated/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/gradoracle
        COMPONENT development FILES_MATCHING PATTERN "*.pb.h")
install(DIRECTORY ${PROJECT_SOURCE_DIR}/proto/gradoracle DESTINATION ${CMAKE_INSTALL_DATADIR}/gradoracle/proto
        COMPONENT development FILES_MATCHING PATTERN "*.proto")

foreach(program gradoracle-server gradoracle)
  if(TARGET ${program})
    install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT ${program})
  endif()
endforeach()
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})
if(TARGET gradoracle_report)
  install(FILES ${PROJECT_SOURCE_DIR}/third_party/vega/LICENSES.txt DESTINATION ${CMAKE_INSTALL_DOCDIR} RENAME VEGA-LICENSES.txt)
  install(FILES ${PROJECT_SOURCE_DIR}/docs/schema/audit-report-1.json DESTINATION ${CMAKE_INSTALL_DATADIR}/gradoracle/schema)
endif()
