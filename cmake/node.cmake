# Node-API headers: given by cmake-js, else asked of the packages themselves. Never downloaded.
file(READ ${CMAKE_CURRENT_SOURCE_DIR}/package.json kraken_package)
string(JSON KRAKEN_VERSION GET "${kraken_package}" version)

function(kraken_node_include package expression out)
  execute_process(
    COMMAND node -p "require('${package}').${expression}"
    WORKING_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}
    OUTPUT_VARIABLE path OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE result)
  if(result)
    message(FATAL_ERROR "${package} is not installed: run `npm run setup`")
  endif()
  string(REGEX REPLACE "^\"|\"$" "" path "${path}")
  set(${out} ${path} PARENT_SCOPE)
endfunction()

kraken_node_include(node-addon-api include_dir kraken_addon_api)
if(CMAKE_JS_INC)
  set(KRAKEN_NODE_INCLUDES ${CMAKE_JS_INC} ${kraken_addon_api})
else()
  kraken_node_include(node-api-headers include_dir kraken_api_headers)
  set(KRAKEN_NODE_INCLUDES ${kraken_api_headers} ${kraken_addon_api})
endif()
