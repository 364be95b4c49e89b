/* Runs a SavedModel through TensorFlow's C library, the loader that TensorFlow Serving uses.
 *
 * Arguments: folder, input operation, output operation, output index, file of float32, rows,
 * columns. Prints one label to a line.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tensorflow/c/c_api.h>

static void ended_well(TF_Status* status, const char* what) {
  if (TF_GetCode(status) == TF_OK) return;
  fprintf(stderr, "%s: %s\n", what, TF_Message(status));
  exit(1);
}

int main(int argc, char** argv) {
  if (argc != 8) return 2;
  const int64_t shape[2] = {atoll(argv[6]), atoll(argv[7])};
  const size_t size = sizeof(float) * (size_t)(shape[0] * shape[1]);
  TF_Tensor* points = TF_AllocateTensor(TF_FLOAT, shape, 2, size);
  FILE* file = fopen(argv[5], "rb");
  if (file == NULL || fread(TF_TensorData(points), 1, size, file) != size) return 3;
  fclose(file);

  TF_Status* status = TF_NewStatus();
  TF_Graph* graph = TF_NewGraph();
  TF_SessionOptions* options = TF_NewSessionOptions();
  const char* tags[] = {"serve"};
  TF_Session* session = TF_LoadSessionFromSavedModel(options, NULL, argv[1], tags, 1, graph,
                                                     NULL, status);
  ended_well(status, "load");

  TF_Output input = {TF_GraphOperationByName(graph, argv[2]), 0};
  TF_Output output = {TF_GraphOperationByName(graph, argv[3]), atoi(argv[4])};
  if (input.oper == NULL || output.oper == NULL) return 4;
  TF_Tensor* labels = NULL;
  TF_SessionRun(session, NULL, &input, &points, 1, &output, &labels, 1, NULL, 0, NULL, status);
  ended_well(status, "run");
  if (TF_TensorType(labels) != TF_INT64 || TF_Dim(labels, 0) != shape[0]) return 5;
  for (int64_t row = 0; row < shape[0]; ++row) {
    int64_t label;
    memcpy(&label, (const char*)TF_TensorData(labels) + row * sizeof label, sizeof label);
    printf("%lld\n", (long long)label);
  }
  TF_DeleteTensor(points);
  TF_DeleteTensor(labels);
  TF_CloseSession(session, status);
  TF_DeleteSession(session, status);
  TF_DeleteSessionOptions(options);
  TF_DeleteGraph(graph);
  TF_DeleteStatus(status);
  return 0;
}
